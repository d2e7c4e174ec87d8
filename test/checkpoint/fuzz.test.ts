import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readSafetensors } from '../../lib/checkpoint/safetensors.js';
import { readTorchBin } from '../../lib/checkpoint/torch-bin.js';
import { CheckpointError } from '../../lib/errors.js';
import { temporaryFolder } from '../temporary-folder.js';

const FIXTURES = join(import.meta.dirname, '..', 'fixtures', 'checkpoint');
const folder = temporaryFolder();
const ROUNDS = 300;

/** A small deterministic generator (mulberry32), so that a failure can be repeated. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const INTERESTING = [0, 1, 0x28, 0x52, 0x63, 0x7f, 0x80, 0xff];

/** One to four bytes changed, or a piece removed, doubled or overwritten by another piece. */
function mutate(original: Buffer, next: (below: number) => number): Buffer {
  const bytes = Buffer.from(original);
  const at = next(bytes.length);
  const length = 1 + next(Math.min(40, bytes.length - at));
  switch (next(6)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
    case 3:
      bytes.copy(bytes, next(bytes.length), at, at + length);
      return bytes;
    default:
      for (let i = 0; i <= next(4); i++) {
        const value = next(2) ? next(256) : (INTERESTING[next(INTERESTING.length)] as number);
        bytes[next(bytes.length)] = value;
      }
      return bytes;
  }
}

describe('a file that was damaged anywhere', () => {
  it.each(['dtypes.safetensors', 'views.bin', 'module.bin', 'protocol4.bin', 'nested.bin'])(
    '%s is read within its bounds, or refused with a CheckpointError',
    async (name) => {
      const original = readFileSync(join(FIXTURES, name));
      const read = name.endsWith('.bin') ? readTorchBin : readSafetensors;
      const outcomes = { read: 0, refused: 0 };
      for (let seed = 0; seed < ROUNDS; seed++) {
        const path = folder.write(name, mutate(original, random(seed)));
        try {
          for (const { offset, nbytes, shape, strides } of await read(path)) {
            expect(offset >= 0 && nbytes >= 0, `seed ${seed}`).toBe(true);
            expect(offset + nbytes, `seed ${seed}`).toBeLessThanOrEqual(statSync(path).size);
            expect(strides.length, `seed ${seed}`).toBe(shape.length);
          }
          outcomes.read++;
        } catch (error) {
          if (!(error instanceof CheckpointError)) throw error;
          outcomes.refused++;
        }
      }
      // Both happen: damage in the data goes unseen, damage in the headers does not.
      expect(outcomes.read).toBeGreaterThan(0);
      expect(outcomes.refused).toBeGreaterThan(ROUNDS / 4);
    },
  );
});
