import { InvalidArgumentError } from '../../../lib/errors.js';

/** Reads 'a', then a digit; what a harness can be tested with. */
export function parse(input: Uint8Array): number {
  if (input[0] !== 0x61) {
    throw new InvalidArgumentError('The input does not begin with an a');
  }
  const digit = (input[1] ?? 0) - 0x30;
  if (digit < 0 || digit > 9) throw new InvalidArgumentError('No digit follows');
  return digit;
}

/** Never called, so that there is a line that no run reaches. */
export function unreachable(): number {
  return 1;
}
