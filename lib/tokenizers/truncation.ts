/** Which tokens of a row, or of a pair's two, are kept: what tokenizers' `truncate_encodings` does. */

import { InvalidArgumentError } from '../errors.js';

const STRATEGIES = ['longest_first', 'only_first', 'only_second'] as const;

export type TruncationStrategy = (typeof STRATEGIES)[number];

export interface Truncation {
  strategy: TruncationStrategy;
  /** In tokens, special ones included. */
  max_length: number;
}

export function isTruncationStrategy(value: unknown): value is TruncationStrategy {
  return (STRATEGIES as readonly unknown[]).includes(value);
}

/**
 * Lengths of the two texts of a row after truncation to `room` tokens together.
 *
 * @param second null where there is no second text; its length is then 0.
 * @throws InvalidArgumentError when the text that is to be cut is too short for it.
 */
export function keptLengths(
  first: number,
  second: number | null,
  room: number,
  strategy: TruncationStrategy,
): [first: number, second: number] {
  if (room === 0) return [0, 0];
  const excess = first + (second ?? 0) - room;
  if (excess <= 0) return [first, second ?? 0];
  if (strategy === 'longest_first') {
    if (second === null) return [room, 0];
    // The shorter one is cut only where half of the room is too little for it.
    const shorter = Math.min(first, second);
    const isHalved = 2 * shorter > room;
    const [short, long] = isHalved
      ? [Math.floor(room / 2), Math.ceil(room / 2)]
      : [shorter, room - shorter];
    // The odd token is the longer text's, but where either would fill the room alone the second's.
    return first > second && shorter < room ? [long, short] : [short, long];
  }
  // Of an empty text nothing can be cut; tokenizers 0.23 then cuts the other one, and of the second doesn't.
  if (strategy === 'only_first' && first === 0 && second !== null) return [0, room];
  const target = strategy === 'only_first' ? first : second;
  if (target === null || target <= excess) {
    throw new InvalidArgumentError(
      target === null
        ? 'Truncation error: Second sequence not provided'
        : 'Truncation error: Sequence to truncate too short to respect the provided max_length',
      {
        subject: 'truncation',
        found: `${strategy}, ${target ?? 0} tokens of which ${excess} are too many`,
        remedy: "Pass a larger max_length, or truncation: 'longest_first'.",
      },
    );
  }
  return strategy === 'only_first' ? [first - excess, second ?? 0] : [first, target - excess];
}
