import { mutateJson } from './json.js';
import { damage, type Random } from './random.js';

/** Faults that a document loses when it is parsed and written again. */
function spoil(text: string, random: Random): string {
  switch (random.below(6)) {
    case 0:
      return `\ufeff${text}`;
    case 1: {
      // A member twice, at the start of some object.
      const member = /"(?:[^"\\]|\\.)*"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[-\w.]+)/.exec(text)?.[0];
      return member === undefined ? text : text.replace('{', `{${member},`);
    }
    case 2:
      return text.replace(/[,:[\]{}]/, (c) => random.pick(['', ',', ':', ']', '}', c + c]));
    case 3: {
      const at = random.below(text.length);
      return text.slice(0, at) + random.pick(['[', '{"a":', '[{},']).repeat(random.below(5000));
    }
    case 4: {
      // Longer than a piece of the parser, so that containers are put together.
      const filler = `${random.chance(0.5) ? '"x",' : '1,'.repeat(4)}`.repeat(8_500);
      return text.replace(/\}\s*$/, `,"filler${random.below(3)}":[${filler}1]}`);
    }
    default:
      return JSON.stringify(JSON.parse(text), null, random.below(3));
  }
}

/** Another JSON file: mostly a document of another content, at times one with a fault. */
export function mutateJsonFile(input: Uint8Array, random: Random): Uint8Array {
  const text = Buffer.from(input).toString();
  const mutated = random.chance(0.8) ? mutateJson(text, random) : undefined;
  if (mutated !== undefined) return Buffer.from(mutated);
  try {
    if (random.chance(0.6)) return Buffer.from(spoil(text, random));
  } catch {
    // No JSON any more.
  }
  return damage(input, random);
}
