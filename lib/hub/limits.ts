import { InvalidArgumentError } from '../errors.js';

/**
 * Longest silence of the Hub, in seconds, where HF_HUB_ETAG_TIMEOUT or HF_HUB_DOWNLOAD_TIMEOUT says
 * nothing else. As in huggingface_hub's constants.py.
 */
export const DEFAULT_TIMEOUT = 10;

/** Longest time-out that can be set, in seconds: that of Node's timers, 2^31 - 1 milliseconds. */
export const MAX_TIMEOUT = 2_147_483;

/**
 * Longest time for one whole answer of the API, in milliseconds, however steadily it trickles: an answer
 * of MAX_ANSWER_BYTES takes as long at 35 KB/s.
 */
export const ANSWER_DEADLINE = 60_000;

/**
 * Longest answer of the API in bytes. The Hub lists 1,000 files a page at about 0.6 KB each; three times
 * as much is still parsed in about 20 ms.
 */
export const MAX_ANSWER_BYTES = 2 << 20;

/** Most pages of one listing: 100,000 files in one folder, as many as the Hub advises for a repository. */
export const MAX_LISTING_PAGES = 100;

/** Most redirects of one request. The Hub needs two: a renamed repository, and the store of large files. */
export const MAX_REDIRECTS = 10;

/** Waits between tries, in milliseconds. A try that brought bytes begins them anew. */
export const RETRY_DELAYS = [100, 300, 900, 2700];

/** Longest wait that a server's Retry-After is granted, in milliseconds. */
export const MAX_RETRY_AFTER = 30_000;

/** Variables of the environment that set a time-out: for the API, and for the contents of files. */
export type TimeoutVariable = 'HF_HUB_ETAG_TIMEOUT' | 'HF_HUB_DOWNLOAD_TIMEOUT';

/**
 * The time-out that an environment variable sets, in milliseconds.
 * @throws InvalidArgumentError
 */
export function timeoutOf(name: TimeoutVariable): number {
  const text = process.env[name]?.trim() || String(DEFAULT_TIMEOUT);
  const seconds = Number(text);
  if (seconds > 0 && seconds <= MAX_TIMEOUT) return Math.ceil(seconds * 1000);
  throw new InvalidArgumentError(`${name} is no time-out`, {
    subject: name,
    expected: `seconds, above 0 and at most ${MAX_TIMEOUT}`,
    found: text,
  });
}
