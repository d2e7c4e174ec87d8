import { isObject, type JsonObject } from '../checkpoint/strict-json.js';
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

function template(items: unknown, specials: JsonObject): TemplateItem[] {
  if (!Array.isArray(items)) {
    throw new TokenizerError('Malformed post-processor template', { expected: 'a list' });
  }
  return items.map((item: unknown): TemplateItem => {
    const sequence = isObject(item) ? item.Sequence : undefined;
    const special = isObject(item) ? item.SpecialToken : undefined;
    if (isObject(sequence)) {
      return {
        kind: 'sequence',
        pair: sequence.id === 'B',
        typeId: Number(sequence.type_id ?? 0),
      };
    }
    const entry = isObject(special) ? specials[String(special.id)] : undefined;
    const ids = isObject(entry) ? entry.ids : undefined;
    if (!isObject(special) || !Array.isArray(ids) || !ids.every(Number.isSafeInteger)) {
      throw new TokenizerError('Malformed post-processor template', {
        expected: 'a Sequence, or a SpecialToken with ids in special_tokens',
        found: item,
      });
    }
    return { kind: 'special', ids: ids as number[], typeId: Number(special.type_id ?? 0) };
  });
}

/** cls A sep [sep] B sep, of BERT and RoBERTa. */
function clsSep(config: JsonObject, separators: number): PostProcessor {
  const id = (key: string): number => {
    const value = Array.isArray(config[key]) ? (config[key] as unknown[])[1] : undefined;
    if (Number.isSafeInteger(value)) return value as number;
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

/** Puts the special tokens in. `b` is null for a single text. */
export function postProcess(
  processor: PostProcessor,
  a: readonly number[],
  b: readonly number[] | null,
): { ids: number[]; typeIds: number[] } {
  const ids: number[] = [];
  const typeIds: number[] = [];
  for (const item of b === null ? processor.single : processor.pair) {
    const part = item.kind === 'special' ? item.ids : item.pair ? (b ?? []) : a;
    for (const id of part) {
      ids.push(id);
      typeIds.push(item.typeId);
    }
  }
  return { ids, typeIds };
}

/** Number of special tokens a template adds. */
export function specialTokenCount(processor: PostProcessor, pair: boolean): number {
  const items = pair ? processor.pair : processor.single;
  return items.reduce((n, item) => n + (item.kind === 'special' ? item.ids.length : 0), 0);
}
