import type { Random } from './random.js';

/**
 * One parser, or one surface, that must answer every input with success or a typed error. A target is
 * a file of `targets/` that exports it as `target`; `npm run fuzz` finds it there.
 */
export interface FuzzTarget {
  /** That of its file, and of its folder of kept inputs in `corpus/`. */
  readonly name: string;
  /** Files, relative to the repository, whose line coverage is printed. */
  readonly sources: readonly string[];
  /** Percent of the lines of `sources` that a run must reach. */
  readonly minimumCoverage: number;
  /** Valid inputs to start from, beside the kept ones. */
  seeds(): readonly Uint8Array[] | Promise<readonly Uint8Array[]>;
  /** Another input, of the same structure as far as that is interesting. Depends on its arguments alone. */
  mutate(input: Uint8Array, random: Random): Uint8Array;
  /**
   * Hands the input to the library. Returning means that it was accepted and a KomtError that it was
   * refused; whatever else is thrown is a finding, as are 2 s and 500 MB.
   * @param folder a temporary folder, empty again for every input
   */
  run(input: Uint8Array, folder: string): void | Promise<void>;
  /** Prepares what all inputs share, such as a loaded model; not held to the limits of an input. */
  prepare?(folder: string): void | Promise<void>;
  /** Instead of MAX_BYTES. */
  readonly maxBytes?: number;
  /** A defect that the target must find: `find`, which stands once in `file`, becomes `replace`. */
  readonly planted: { readonly file: string; readonly find: string; readonly replace: string };
}

/** Milliseconds of processor time that an input may cost. */
export const MAX_CPU_MS = 2000;
/** Milliseconds an input may take where it only waits: machines are busy, and nothing is there to wait for. */
export const MAX_WAIT_MS = 10_000;
/** Bytes of memory that an input may cost beyond its own size. */
export const MAX_BYTES = 500e6;

/** What is wrong with an input. */
export interface Finding {
  readonly kind: 'untyped error' | 'too slow' | 'too much memory' | 'process died';
  readonly message: string;
}

/** What a run of a target in its process came to. */
export interface Report {
  readonly inputs: number;
  readonly accepted: number;
  readonly refused: number;
  /** Shapes of error messages that were seen. */
  readonly outcomes: number;
  /** The input with which each new outcome was seen, base64, where they are to be kept. */
  readonly kept: readonly string[];
}
