import { toy } from '../toy.js';

export const target = toy('clean', () => {});
