import { type Node, parseRegex, UnsupportedPattern } from './parse.js';

/** One step of a program. `next` is the step that follows it. */
export type Instruction =
  /** A character of set `set`, forwards or backwards. */
  | { op: 'set'; set: number; back: boolean }
  /** Continue at `first`, and at `second` should that fail. */
  | { op: 'split'; first: number; second: number }
  | { op: 'jump'; to: number }
  /** What starts at `start` matches here, or does not. */
  | { op: 'look'; start: number; negative: boolean }
  | { op: 'match' };

export interface Program {
  code: readonly Instruction[];
  sets: readonly CharacterSet[];
}

/** Counted repetitions are written out, so `(a{100}){100}` is 10,000 steps; published patterns take 150. */
const MAX_INSTRUCTIONS = 1024;

/** Characters, asked of JavaScript once each. */
export class CharacterSet {
  readonly #test: RegExp;
  /** 0: not asked yet; 1: is in the set; 2: is not. */
  readonly #known = new Uint8Array(65_536);

  constructor(source: string) {
    this.#test = new RegExp(`^(?:${source})$`, 'u');
  }

  has(code: number): boolean {
    if (code > 0xffff) return this.#test.test(String.fromCodePoint(code));
    let answer = this.#known[code];
    if (answer === 0) {
      answer = this.#test.test(String.fromCharCode(code)) ? 1 : 2;
      this.#known[code] = answer;
    }
    return answer === 1;
  }
}

/**
 * Compiles a pattern for {@link Search}.
 *
 * @param source of a RegExp with the flag `u`.
 * @throws UnsupportedPattern if it cannot be matched in linear time.
 */
export function compileRegex(source: string): Program {
  const code: Instruction[] = [];
  const sets: CharacterSet[] = [];
  const setOf = new Map<string, number>();

  function emit(instruction: Instruction): number {
    if (code.length >= MAX_INSTRUCTIONS) {
      throw new UnsupportedPattern(`more than ${MAX_INSTRUCTIONS} steps`);
    }
    return code.push(instruction) - 1;
  }

  function compile(node: Node, back: boolean): void {
    switch (node.kind) {
      case 'empty':
        return;
      case 'set': {
        let set = setOf.get(node.source);
        if (set === undefined) {
          set = sets.push(new CharacterSet(node.source)) - 1;
          setOf.set(node.source, set);
        }
        emit({ op: 'set', set, back });
        return;
      }
      case 'sequence':
        for (const item of back ? [...node.items].reverse() : node.items) compile(item, back);
        return;
      case 'choice': {
        const exits: { to: number }[] = [];
        node.items.forEach((item, i) => {
          if (i === node.items.length - 1) {
            compile(item, back);
            return;
          }
          const split = { op: 'split' as const, first: 0, second: 0 };
          split.first = emit(split) + 1;
          compile(item, back);
          const jump = { op: 'jump' as const, to: 0 };
          split.second = emit(jump) + 1;
          exits.push(jump);
        });
        for (const exit of exits) exit.to = code.length;
        return;
      }
      case 'repeat':
        repeat(node, back);
        return;
      case 'look': {
        const look = { op: 'look' as const, start: 0, negative: node.negative };
        emit(look);
        const jump = { op: 'jump' as const, to: 0 };
        look.start = emit(jump) + 1;
        compile(node.item, node.behind);
        emit({ op: 'match' });
        jump.to = code.length;
        return;
      }
    }
  }

  function repeat(node: Extract<Node, { kind: 'repeat' }>, back: boolean): void {
    const { item, min, max, lazy } = node;
    if (max < min) throw new UnsupportedPattern(`{${min},${max}}`);
    for (let i = 0; i < min; i++) compile(item, back);
    const optional = (): { exit: (to: number) => void; at: number } => {
      const split = { op: 'split' as const, first: 0, second: 0 };
      const at = emit(split);
      if (lazy) split.second = at + 1;
      else split.first = at + 1;
      const exit = (to: number) => {
        if (lazy) split.first = to;
        else split.second = to;
      };
      return { exit, at };
    };
    if (max === Number.POSITIVE_INFINITY) {
      const { exit, at } = optional();
      compile(item, back);
      emit({ op: 'jump', to: at });
      exit(code.length);
      return;
    }
    const exits: ((to: number) => void)[] = [];
    for (let i = min; i < max; i++) {
      exits.push(optional().exit);
      compile(item, back);
    }
    for (const exit of exits) exit(code.length);
  }

  compile(parseRegex(source), false);
  emit({ op: 'match' });
  return { code, sets };
}
