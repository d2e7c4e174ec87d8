import { toy } from '../toy.js';

export const target = toy('untyped', () => {
  throw new RangeError('not one of ours');
});
