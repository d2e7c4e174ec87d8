import { isObject, type JsonObject } from '../bounded-json.js';
import { TokenizerError } from '../errors.js';

/** One place of a template: given ids, or a sequence of the input. */
export type TemplateItem =
  | { kind: 'special'; ids: readonly number[]; typeId: number }
  | { kind: 'sequence'; pair: boolean; typeId: number };

/** Where special tokens stand around one text, and around two. */
export interface PostProcessor {
  single: readonly TemplateItem[];
  pair: readonly TemplateItem[];
}

const A: TemplateItem = { kind: 'sequence', pair: false, typeId: 0 };
const B: TemplateItem = { kind: 'sequence', pair: true, typeId: 1 };

/** No special tokens. */
export const PLAIN: PostProcessor = { single: [A], pair: [A, B] };

/** transformers' `update_post_processor`: bos in front and eos behind each text, where wanted. */
export function bosEosProcessor(bos: number | null, eos: number | null): PostProcessor {
  const around = (sequence: TemplateItem): TemplateItem[] => {
    const special = (id: number | null): TemplateItem[] =>
      id === null ? [] : [{ kind: 'special', ids: [id], typeId: sequence.typeId }];
    return [...special(bos), sequence, ...special(eos)];
  };
  return { single: around(A), pair: [...around(A), ...around(B)] };
}

/** Places of a template, and ids of a special token; published templates have four, and one. */
const MAX_ITEMS = 64;

/** Rust has a u32; no model tells more than two apart. */
function typeIdOf(item: JsonObject): number {
  const id = item.type_id ?? 0;
  if (Number.isInteger(id) && (id as number) >= 0 && (id as number) < 256) return id as number;
  throw new TokenizerError('Malformed post-processor template', {
    subject: 'type_id',
    expected: 'an integer of 0 to 255',
    found: id,
  });
}

function template(items: unknown, specials: JsonObject): TemplateItem[] {
  if (!Array.isArray(items) || items.length > MAX_ITEMS) {
    throw new TokenizerError('Malformed post-processor template', {
      expected: `a list of at most ${MAX_ITEMS} places`,
    });
  }
  return items.map((item: unknown): TemplateItem => {
    const sequence = isObject(item) ? item.Sequence : undefined;
    const special = isObject(item) ? item.SpecialToken : undefined;
    if (isObject(sequence)) {
      return {
        kind: 'sequence',
        pair: sequence.id === 'B',
        typeId: typeIdOf(sequence),
      };
    }
    const name = isObject(special) && typeof special.id === 'string' ? special.id : '';
    const entry = Object.hasOwn(specials, name) ? specials[name] : undefined;
    const ids = isObject(entry) ? entry.ids : undefined;
    if (!isObject(special) || !isIds(ids)) {
      throw new TokenizerError('Malformed post-processor template', {
        expected: 'a Sequence, or a SpecialToken with ids in special_tokens',
        found: item,
      });
    }
    return { kind: 'special', ids, typeId: typeIdOf(special) };
  });
}

function isId(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isIds(value: unknown): value is number[] {
  return Array.isArray(value) && value.length <= MAX_ITEMS && value.every(isId);
}

/** cls A sep [sep] B sep, of BERT and RoBERTa. */
function clsSep(config: JsonObject, separators: number): PostProcessor {
  const id = (key: string): number => {
    const value = Array.isArray(config[key]) ? (config[key] as unknown[])[1] : undefined;
    if (isId(value)) return value;
    throw new TokenizerError('Malformed post-processor', { subject: key, expected: '[token, id]' });
  };
  const special = (token: number, typeId: number): TemplateItem => ({
    kind: 'special',
    ids: [token],
    typeId,
  });
  const cls = id('cls');
  const sep = id('sep');
  const typeB = separators === 1 ? 1 : 0;
  const between = separators === 1 ? [] : [special(sep, 0)];
  const single = [special(cls, 0), A, special(sep, 0)];
  return { single, pair: [...single, ...between, { ...B, typeId: typeB }, special(sep, typeB)] };
}

/**
 * Reads the `post_processor` section of a tokenizer.json.
 *
 * @throws TokenizerError for a type that is not known.
 */
export function readPostProcessor(config: unknown): PostProcessor | null {
  if (config === null || config === undefined) return null;
  if (!isObject(config)) throw new TokenizerError('Malformed post-processor', { found: config });
  switch (config.type) {
    case 'TemplateProcessing': {
      const specials = isObject(config.special_tokens) ? config.special_tokens : {};
      return {
        single: template(config.single, specials),
        pair: template(config.pair, specials),
      };
    }
    case 'ByteLevel':
      // Moves offsets only.
      return PLAIN;
    case 'BertProcessing':
      return clsSep(config, 1);
    case 'RobertaProcessing':
      return clsSep(config, 2);
    case 'Sequence': {
      const list = (Array.isArray(config.processors) ? config.processors : [])
        .map(readPostProcessor)
        .filter((processor) => processor !== null && processor !== PLAIN);
      if (list.length <= 1) return list[0] ?? PLAIN;
      break;
    }
  }
  throw new TokenizerError('Unknown post-processor', {
    subject: 'post_processor',
    found: config.type,
  });
}

/**
 * Refuses a post-processor whose ids the vocabulary does not have.
 *
 * @throws TokenizerError
 */
export function checkProcessor(processor: PostProcessor, size: number, file: string): void {
  for (const item of [...processor.single, ...processor.pair]) {
    const wrong = item.kind === 'special' ? item.ids.find((id) => id >= size) : undefined;
    if (wrong !== undefined) {
      throw new TokenizerError('The post-processor adds an id that the vocabulary does not have', {
        file,
        expected: `below ${size}`,
        found: wrong,
      });
    }
  }
}

/**
 * Puts the special tokens in. `b` is null for a single text.
 *
 * @param withTypes whether types are made; else there are none.
 */
export function postProcess(
  processor: PostProcessor,
  a: readonly number[],
  b: readonly number[] | null,
  withTypes: boolean,
): { ids: number[]; typeIds: number[] } {
  let ids: number[] = [];
  let typeIds: number[] = [];
  for (const item of b === null ? processor.single : processor.pair) {
    const part = item.kind === 'special' ? item.ids : item.pair ? (b ?? []) : a;
    // Parts are copied as a whole: a text of megabytes has a million ids.
    ids = ids.concat(part);
    if (withTypes) typeIds = typeIds.concat(new Array<number>(part.length).fill(item.typeId));
  }
  return { ids, typeIds };
}

/** Number of special tokens a template adds. */
export function specialTokenCount(processor: PostProcessor, pair: boolean): number {
  const items = pair ? processor.pair : processor.single;
  return items.reduce((n, item) => n + (item.kind === 'special' ? item.ids.length : 0), 0);
}
