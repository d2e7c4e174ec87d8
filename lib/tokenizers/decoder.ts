import { TokenizerError } from '../errors.js';
import { type Component, readComponents } from './components.js';
import { decoderStep, metaspaceRule, replaceRule, stripRule } from './decoder-chain.js';
import { GROWTH_SLACK, MAX_GROWTH } from './limits.js';
import {
  ByteLevelDecoder,
  decodedTooLong,
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

const FILE = 'tokenizer.json';

type Transform = PieceRules['transform'];

function then(first: Transform, second: Transform): Transform {
  return (token, isFirst) => second(first(token, isFirst), isFirst);
}

/** Rules equal to a sequence of decoders, or null where they cannot be applied token by token. */
function pieceRules(decoders: readonly Component[]): PieceRules | null {
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
      rules.transform = then(rules.transform, (token) => rule(token));
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
 * @throws TokenizerError if the section is malformed, or not known.
 */
export function compileDecoder(config: DecoderConfig): DecoderFactory {
  const list = readComponents(config, 'decoder', 'decoders', FILE);
  if (list.length === 0) {
    return (eager) => new WholeTextDecoder((tokens) => tokens.join(' '), eager);
  }
  if (list.length === 1 && list[0]?.type === 'ByteLevel') return () => new ByteLevelDecoder();
  const rules = pieceRules(list);
  if (rules !== null) {
    const cache: PieceCache = new Map();
    return (eager) => new PieceDecoder(rules, eager, cache);
  }
  const steps = list.map((decoder) => {
    const step = decoderStep(decoder);
    if (step !== null) return step;
    throw new TokenizerError(`Unknown Decoder type: ${decoder.type}`, { file: FILE });
  });
  const chain = (tokens: readonly string[]): string => {
    const lengthOf = (list: readonly string[]) => list.reduce((sum, { length }) => sum + length, 0);
    const limit = MAX_GROWTH * lengthOf(tokens) + GROWTH_SLACK;
    let out = [...tokens];
    for (const step of steps) {
      out = step(out, limit);
      if (lengthOf(out) > limit) throw decodedTooLong(limit);
    }
    return out.join('');
  };
  return (eager) => new WholeTextDecoder(chain, eager);
}
