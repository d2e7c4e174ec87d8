import type { CharacterSet, Instruction, Program } from './program.js';

/** Positions whose visits are kept together. */
const BLOCK = 1024;
/** Memory for visits. A pattern that looks far ahead from every place needs some for all of the text. */
const MAX_VISIT_BYTES = 128 * 1024 * 1024;
/** Steps for each unit of text; published patterns take 10 to 30. */
const STEPS_PER_UNIT = 256;
const STEPS_SLACK = 1_000_000;

/** Steps at one go: about a millisecond. */
const STEPS_PER_CALL = 16_384;

/** The call had to be interrupted: make it again, with the same argument, to go on. */
export const PAUSED = Symbol('paused');

/** Finding the matches of a pattern took more steps or memory than it may. */
export class SearchBudgetExceeded extends Error {}

const FAILED = -1;
const UNFINISHED = -2;

/** Where a run of the program is, and what it comes back to: pairs of step and position. */
class Run {
  readonly stack: number[] = [];
  constructor(
    public step: number,
    public at: number,
  ) {}
}

function codeAt(text: string, at: number): number {
  return text.codePointAt(at) ?? -1;
}

function codeBefore(text: string, at: number): number {
  if (at === 0) return -1;
  const whole = at > 1 ? (text.codePointAt(at - 2) as number) : 0;
  return whole > 0xffff ? whole : text.charCodeAt(at - 1);
}

/**
 * The matches of a pattern in a text, from left to right, as JavaScript finds them (backtracking order).
 *
 * A step of the program at a place of the text fails whatever led there, as there are no back
 * references. So a visit that failed is not repeated, by later starts neither, and the whole text
 * takes O(program * text) steps. Look-arounds that succeed are not remembered; should they
 * come to more, the budget ends it.
 */
export class Search {
  readonly #code: readonly Instruction[];
  readonly #sets: readonly CharacterSet[];
  readonly #text: string;
  /** One bit for each step of the program, for each position of a block. */
  readonly #blocks = new Map<number, Uint32Array>();
  readonly #wordsPerPosition: number;
  /** First block that may still be used. */
  #firstBlock = 0;
  #stepsLeft: number;
  /** The call that was interrupted. */
  #paused: { start: number; run: Run } | null = null;

  constructor(program: Program, text: string) {
    this.#code = program.code;
    this.#sets = program.sets;
    this.#text = text;
    this.#wordsPerPosition = Math.ceil(program.code.length / 32);
    this.#stepsLeft = STEPS_PER_UNIT * text.length + STEPS_SLACK;
  }

  /**
   * First match that starts at `from` or later: its start and end, or null. Calls must go forwards.
   *
   * @throws SearchBudgetExceeded
   */
  next(from: number): readonly [number, number] | null | typeof PAUSED {
    const { start: first, run: resumed } = this.#paused ?? { start: from, run: null };
    this.#paused = null;
    this.#forget(first);
    const pause = this.#stepsLeft - STEPS_PER_CALL;
    let run = resumed ?? new Run(0, first);
    for (let start = first; start <= this.#text.length; ) {
      const end = this.#go(run, pause);
      if (end >= 0) {
        // The path that led to the match has not failed.
        this.#clear(end);
        return [start, end];
      }
      if (end === FAILED) {
        start += (this.#text.codePointAt(start) ?? 0) < 0x10000 ? 1 : 2;
        run = new Run(0, start);
      }
      if (this.#stepsLeft < pause) {
        this.#paused = { start, run };
        return PAUSED;
      }
    }
    return null;
  }

  /** Where the run ends, FAILED, or UNFINISHED once fewer than `pause` steps are left. Lists its visits. */
  #go(run: Run, pause: number, visits?: number[]): number {
    const text = this.#text;
    const { stack } = run;
    let { step, at } = run;
    for (;;) {
      for (;;) {
        if (--this.#stepsLeft < 0) throw new SearchBudgetExceeded('steps');
        if (this.#stepsLeft < pause) {
          run.step = step;
          run.at = at;
          return UNFINISHED;
        }
        if (!this.#visit(step, at)) break;
        visits?.push(step, at);
        const instruction = this.#code[step] as Instruction;
        if (instruction.op === 'match') return at;
        if (instruction.op === 'set') {
          const code = instruction.back ? codeBefore(text, at) : codeAt(text, at);
          if (code < 0 || !(this.#sets[instruction.set] as CharacterSet).has(code)) break;
          const units = code < 0x10000 ? 1 : 2;
          at += instruction.back ? -units : units;
          step++;
        } else if (instruction.op === 'jump') {
          step = instruction.to;
        } else if (instruction.op === 'split') {
          stack.push(instruction.second, at);
          step = instruction.first;
        } else {
          if (this.#look(instruction.start, at) === instruction.negative) break;
          step++;
        }
      }
      if (stack.length === 0) return FAILED;
      at = stack.pop() as number;
      step = stack.pop() as number;
    }
  }

  #look(start: number, at: number): boolean {
    const visits: number[] = [];
    if (this.#go(new Run(start, at), Number.NEGATIVE_INFINITY, visits) < 0) return false;
    for (let i = 0; i < visits.length; i += 2) {
      this.#unvisit(visits[i] as number, visits[i + 1] as number);
    }
    return true;
  }

  #block(position: number): Uint32Array {
    const index = Math.floor(position / BLOCK);
    let block = this.#blocks.get(index);
    if (block === undefined) {
      const words = BLOCK * this.#wordsPerPosition;
      if ((this.#blocks.size + 1) * words * 4 > MAX_VISIT_BYTES) {
        throw new SearchBudgetExceeded('memory');
      }
      block = new Uint32Array(words);
      this.#blocks.set(index, block);
    }
    return block;
  }

  /** False if the step was made at this position before. */
  #visit(step: number, position: number): boolean {
    const block = this.#block(position);
    const word = (position % BLOCK) * this.#wordsPerPosition + (step >> 5);
    const bit = 1 << (step & 31);
    if (((block[word] as number) & bit) !== 0) return false;
    block[word] = (block[word] as number) | bit;
    return true;
  }

  #unvisit(step: number, position: number): void {
    const word = (position % BLOCK) * this.#wordsPerPosition + (step >> 5);
    const block = this.#block(position);
    block[word] = (block[word] as number) & ~(1 << (step & 31));
  }

  #clear(position: number): void {
    const from = (position % BLOCK) * this.#wordsPerPosition;
    this.#block(position).fill(0, from, from + this.#wordsPerPosition);
  }

  /** Gives the memory of blocks back that lie before `position`. */
  #forget(position: number): void {
    const first = Math.floor(position / BLOCK);
    for (; this.#firstBlock < first; this.#firstBlock++) this.#blocks.delete(this.#firstBlock);
  }
}
