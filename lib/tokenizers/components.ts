import { isObject, type JsonObject } from '../bounded-json.js';
import { TokenizerError } from '../errors.js';
import { MAX_COMPONENTS } from './limits.js';

/** A normalizer, pre-tokenizer or decoder of a tokenizer.json. */
export type Component = JsonObject & { type: string };

/**
 * The parts of a section of tokenizer.json, sequences flattened; none for null.
 *
 * @param section its name, for messages: 'normalizer', 'pre_tokenizer' or 'decoder'.
 * @param members name of the list in a sequence.
 * @throws TokenizerError if it is malformed, or has too many parts.
 */
export function readComponents(
  config: unknown,
  section: string,
  members: string,
  file: string,
): Component[] {
  const components: Component[] = [];
  // The parser of the file has bounded its depth.
  const collect = (part: unknown): void => {
    if (!isObject(part) || typeof part.type !== 'string') {
      throw new TokenizerError(`Malformed ${section}`, {
        file,
        expected: 'an object with a type',
        found: part,
      });
    }
    if (part.type !== 'Sequence') {
      components.push(part as Component);
    } else {
      const list = part[members];
      if (!Array.isArray(list)) {
        throw new TokenizerError(`Malformed ${section}`, {
          file,
          subject: members,
          expected: 'a list',
          found: list,
        });
      }
      if (list.length <= MAX_COMPONENTS) list.forEach(collect);
      else components.length = MAX_COMPONENTS + 1;
    }
    if (components.length > MAX_COMPONENTS) {
      throw new TokenizerError(`The ${section} has too many parts`, {
        file,
        expected: `at most ${MAX_COMPONENTS}`,
        remedy: 'Published tokenizers have six at most: the file is damaged or hostile.',
      });
    }
  };
  if (config !== null && config !== undefined) collect(config);
  return components;
}

/** A component's text setting. */
export function textOf(component: Component, name: string, section: string, file: string): string {
  const value = component[name];
  if (typeof value === 'string') return value;
  throw new TokenizerError(`Malformed ${section} ${component.type}`, {
    file,
    subject: name,
    expected: 'a string',
    found: value,
  });
}
