import { damage } from '../random.js';
import type { FuzzTarget } from '../target.js';
import { parse } from './parser.js';

/** A target over the toy parser that does `misbehave` at the digit 7. */
export function toy(name: string, misbehave: (folder: string) => unknown): FuzzTarget {
  return {
    name,
    sources: ['test/fuzz/toys/parser.ts'],
    minimumCoverage: 50,
    seeds: () => [Buffer.from('a1'), Buffer.from('a7')],
    mutate: damage,
    async run(input, folder) {
      if (parse(input) === 7) await misbehave(folder);
    },
    planted: {
      file: 'test/fuzz/toys/parser.ts',
      find: `throw new InvalidArgumentError('No digit follows')`,
      replace: `throw new TypeError('planted')`,
    },
  };
}
