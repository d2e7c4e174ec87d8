import { CheckpointError } from '../errors.js';

/** A JSON object. */
export type JsonObject = { [key: string]: unknown };

/** True for what JSON calls an object: neither null nor an array. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * First key that occurs twice in one object of `text`, which must be valid JSON. JSON.parse would keep
 * the last of them silently, so that two readers of one file may see two different files.
 */
function findDuplicateKey(text: string): string | undefined {
  // One entry an open bracket: the keys of an object, or null for an array.
  const open: (Set<string> | null)[] = [];
  let keyNext = false;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x7b: // {
        open.push(new Set());
        keyNext = true;
        break;
      case 0x5b: // [
        open.push(null);
        keyNext = false;
        break;
      case 0x7d: // }
      case 0x5d: // ]
        open.pop();
        keyNext = false;
        break;
      case 0x2c: // ,
        keyNext = open[open.length - 1] !== null;
        break;
      case 0x22: {
        const start = i++;
        let escaped = false;
        for (let c = text.charCodeAt(i); c !== 0x22; c = text.charCodeAt(i)) {
          if (c === 0x5c) {
            escaped = true;
            i++;
          }
          i++;
        }
        if (!keyNext) break;
        const raw = text.slice(start, i + 1);
        const key = escaped ? (JSON.parse(raw) as string) : raw.slice(1, -1);
        const keys = open[open.length - 1];
        if (keys?.has(key)) return key;
        keys?.add(key);
        keyNext = false;
        break;
      }
    }
  }
  return undefined;
}

/**
 * Parses a JSON object and refuses duplicate keys at any depth.
 * @param what names the text in messages, such as "The header".
 * @throws CheckpointError
 */
export function parseStrictJson(text: string, file: string, what: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError(`${what} is not valid JSON`, {
      file,
      found: cause instanceof Error ? cause.message : undefined,
      remedy: 'The file is damaged; download it again.',
      cause,
    });
  }
  if (!isObject(value)) {
    throw new CheckpointError(`${what} is not a JSON object`, { file });
  }
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) {
    throw new CheckpointError(`${what} has the key ${JSON.stringify(duplicate)} twice`, {
      file,
      subject: duplicate,
    });
  }
  return value;
}
