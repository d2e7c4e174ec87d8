import type { FuzzTarget } from '../../target.js';
import { toy } from '../toy.js';

export const target: FuzzTarget = {
  ...toy('memory', async () => {
    const taken = Buffer.alloc(100e6, 1);
    await new Promise((resolve) => setTimeout(resolve, 500));
    return taken;
  }),
  maxBytes: 50e6,
};
