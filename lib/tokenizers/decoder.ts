import { TokenizerError } from '../errors.js';
import {
  type DecoderStep,
  decoderStep,
  metaspaceRule,
  replaceRule,
  stripRule,
} from './decoder-chain.js';
import {
  ByteLevelDecoder,
  type PieceCache,
  PieceDecoder,
  type PieceRules,
  type TokenDecoder,
  WholeTextDecoder,
} from './token-decoders.js';

/** The `decoder` section of a tokenizer.json; `null` joins tokens with spaces. */
export type DecoderConfig = { type: string; [key: string]: unknown } | null;

/** Makes decoders. `eager`: give characters out as soon as they are whole (see {@link PieceDecoder}). */
export type DecoderFactory = (eager: boolean) => TokenDecoder;

type Transform = PieceRules['transform'];

function then(first: Transform, second: Transform): Transform {
  return (token, isFirst) => second(first(token, isFirst), isFirst);
}

/** Rules equal to a sequence of decoders, or null where they cannot be applied token by token. */
function pieceRules(decoders: readonly Record<string, unknown>[]): PieceRules | null {
  const rules: PieceRules = {
    transform: (token) => token,
    byteFallback: false,
    strip: { content: ' ', count: 0 },
  };
  let fused = false;
  for (const decoder of decoders) {
    if (decoder.type === 'Fuse') {
      fused = true;
      continue;
    }
    if (decoder.type === 'Strip') {
      const { content, start, stop } = stripRule(decoder);
      if (!fused || stop > 0 || content.length !== 1 || rules.strip.count > 0) return null;
      rules.strip = { content, count: start };
      continue;
    }
    // A byte's text exists only after its run has ended, so a later rule cannot see it token by token.
    if (fused || rules.byteFallback) return null;
    if (decoder.type === 'ByteFallback') {
      rules.byteFallback = true;
    } else if (decoder.type === 'Metaspace') {
      rules.transform = then(rules.transform, metaspaceRule(decoder));
    } else if (decoder.type === 'Replace') {
      const rule = replaceRule(decoder);
      if (rule === null) return null;
      rules.transform = then(rules.transform, rule);
    } else {
      return null;
    }
  }
  return rules;
}

/**
 * The decoder a tokenizer.json asks for.
 *
 * @param config its `decoder` section.
 * @param decodeAll decodes a whole list of tokens; used for decoders that are not known here.
 * @throws TokenizerError if the section is malformed.
 */
export function compileDecoder(
  config: DecoderConfig,
  decodeAll: (tokens: readonly string[]) => string,
): DecoderFactory {
  if (config === null) return (eager) => new WholeTextDecoder(decodeAll, eager);
  if (typeof config !== 'object' || typeof config.type !== 'string') {
    throw new TokenizerError('Malformed decoder', {
      expected: 'an object with a type',
      found: config,
    });
  }
  let list: readonly Record<string, unknown>[] = [config];
  if (config.type === 'Sequence') {
    if (!Array.isArray(config.decoders)) {
      throw new TokenizerError('Malformed decoder', { subject: 'decoders', expected: 'a list' });
    }
    list = config.decoders as Record<string, unknown>[];
  }
  if (list.length === 1 && list[0]?.type === 'ByteLevel') return () => new ByteLevelDecoder();
  const rules = pieceRules(list);
  if (rules !== null) {
    const cache: PieceCache = new Map();
    return (eager) => new PieceDecoder(rules, eager, cache);
  }
  const steps = list.map((decoder) => decoderStep(decoder as NonNullable<DecoderConfig>));
  if (steps.some((step) => step === null)) return (eager) => new WholeTextDecoder(decodeAll, eager);
  const chain = (tokens: readonly string[]) =>
    (steps as DecoderStep[]).reduce((list, step) => step(list), [...tokens]).join('');
  return (eager) => new WholeTextDecoder(chain, eager);
}
