import { Environment, parse, tokenize } from '@huggingface/jinja';
import { TokenizerError } from '../../errors.js';
import { MAX_TEMPLATE_LENGTH } from '../limits.js';
import { Budget, type Value } from './budget.js';
import { BoundedInterpreter, checkInterpreter } from './interpreter.js';
import { strftime } from './strftime.js';

/** As in Jinja's sandbox. */
const MAX_RANGE = 100_000;
/** White space in a row; the library looks at all of it from each of its places. */
const MAX_WHITE_SPACE = 1024;
const MAX_COMPILED = 16;

type Program = ReturnType<typeof parse>;
const compiled = new Map<string, Program>();

/** A template's beginning, by which messages name it. */
function nameOf(source: string): string {
  return source.length > 60 ? `${JSON.stringify(source.slice(0, 60))}...` : JSON.stringify(source);
}

function compile(source: string): Program {
  const known = compiled.get(source);
  if (known !== undefined) return known;
  if (source.length > MAX_TEMPLATE_LENGTH) {
    throw new TokenizerError('The chat template is too long', {
      subject: nameOf(source),
      expected: `at most ${MAX_TEMPLATE_LENGTH} characters`,
      found: source.length,
    });
  }
  for (let at = 0, run = 0; at < source.length; at++) {
    run = source.charCodeAt(at) <= 0x20 || /\s/.test(source[at] as string) ? run + 1 : 0;
    if (run > MAX_WHITE_SPACE) {
      throw new TokenizerError('The chat template has too much white space in a row', {
        subject: nameOf(source),
        expected: `at most ${MAX_WHITE_SPACE} characters`,
      });
    }
  }
  let program: Program;
  try {
    checkInterpreter();
    program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
  } catch (cause) {
    throw new TokenizerError(`Malformed chat template: ${reasonOf(cause)}`, { cause });
  }
  if (compiled.size >= MAX_COMPILED) compiled.delete(compiled.keys().next().value as string);
  compiled.set(source, program);
  return program;
}

function reasonOf(error: unknown): string {
  if (error instanceof RangeError) return 'it is nested too deeply';
  const message = error instanceof Error ? error.message : String(error);
  return message.length > 1000 ? `${message.slice(0, 1000)}...` : message;
}

/** Python's `range`, as a list; true and false are numbers there. */
function range(...args: unknown[]): number[] {
  const numbers = args.map((arg) => (typeof arg === 'boolean' ? Number(arg) : (arg as number)));
  const [start = 0, stop, step = 1] = numbers;
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  if (![from, to, step].every((x) => typeof x === 'number')) {
    throw new Error('range() needs numbers');
  }
  if (step === 0) throw new Error('range() step must not be zero');
  const count = Math.max(0, Math.ceil((to - from) / step));
  if (!(count <= MAX_RANGE)) {
    throw new Error(
      `Range too big. The sandbox blocks ranges larger than MAX_RANGE (${MAX_RANGE}).`,
    );
  }
  return Array.from({ length: count }, (_, i) => from + i * step);
}

/**
 * Renders a template, within the limits of {@link Budget}.
 *
 * @param context what the template sees.
 * @throws TokenizerError if the template is malformed, raises an exception, or exceeds a limit.
 */
export function renderTemplate(source: string, context: Record<string, unknown>): string {
  const program = compile(source);
  const budget = new Budget(nameOf(source));
  try {
    const environment = new Environment();
    const globals: Record<string, unknown> = {
      false: false,
      true: true,
      none: null,
      False: false,
      True: true,
      None: null,
      raise_exception: (message: unknown) => {
        throw new Error(String(message));
      },
      range,
      strftime_now: (format: unknown) => strftime(new Date(), String(format)),
    };
    for (const [name, value] of Object.entries(context)) budget.admit(name, value);
    let weight = 0;
    for (const [name, value] of [...Object.entries(globals), ...Object.entries(context)]) {
      // What the caller gives goes above the globals of the same name.
      environment.variables.delete(name);
      weight += budget.measure(environment.set(name, value) as Value).weight;
    }
    budget.start(weight);
    const interpreter = new BoundedInterpreter(environment, budget);
    const text = interpreter.evaluate(program as never, environment as never).value;
    return text as string;
  } catch (cause) {
    if (cause instanceof TokenizerError) throw cause;
    throw new TokenizerError(`The chat template refused the conversation: ${reasonOf(cause)}`, {
      cause,
    });
  }
}
