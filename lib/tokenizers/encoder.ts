import { TokenizerError } from '../errors.js';
import type { DecoderConfig } from './decoder.js';
import { ID_SLACK, MAX_ADDED_TOKEN_LENGTH } from './limits.js';
import type { AddedToken } from './special-tokens.js';
import type { Steps } from './steps.js';

/** Text to ids without special tokens around it, and the vocabulary. What PreTrainedTokenizer stands on. */
export interface Encoder {
  /** Token of each id, added tokens included; holes are undefined. */
  readonly tokens: readonly (string | undefined)[];
  /** Number of tokens of the model itself. */
  readonly modelSize: number;
  /** 'BPE', 'Unigram' or 'WordPiece'. */
  readonly modelType: string;
  readonly decoderConfig: DecoderConfig;
  idOf(token: string): number | undefined;
  encode(text: string): Steps<number[]>;
}

/**
 * Refuses ids that leave more than {@link ID_SLACK} of all ids free, as a table of all tokens is kept.
 *
 * @param count number of tokens there are.
 * @throws TokenizerError
 */
export function checkId(id: number, token: string, count: number, file: string): void {
  const limit = count + ID_SLACK;
  if (Number.isSafeInteger(id) && id >= 0 && id < limit) return;
  throw new TokenizerError('The id of a token is out of range', {
    file,
    subject: token.slice(0, 100),
    expected: `0 to ${limit - 1}, for ${count} tokens`,
    found: id,
  });
}

/** @throws TokenizerError if an added token is too long, or its id out of range. */
export function checkAddedTokens(
  added: readonly AddedToken[],
  modelSize: number,
  file: string,
): void {
  for (const { id, content } of added) {
    if (content.length > MAX_ADDED_TOKEN_LENGTH) {
      throw new TokenizerError('An added token is too long', {
        file,
        subject: content.slice(0, 100),
        expected: `at most ${MAX_ADDED_TOKEN_LENGTH} units`,
        found: content.length,
      });
    }
    checkId(id, content, modelSize + added.length, file);
  }
}

/** The tokens by id. */
export function tokenTable(entries: Iterable<readonly [string, number]>): (string | undefined)[] {
  const tokens: (string | undefined)[] = [];
  for (const [token, id] of entries) {
    // Holes are filled, so that the table stays an array in memory.
    while (tokens.length < id) tokens.push(undefined);
    tokens[id] = token;
  }
  return tokens;
}
