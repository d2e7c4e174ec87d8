import type { FuzzTarget } from '../../target.js';
import { toy } from '../toy.js';

/** Never looks at its input: neither its parser's lines nor its planted bug are reached. */
export const target: FuzzTarget = { ...toy('blind', () => {}), run: () => {} };
