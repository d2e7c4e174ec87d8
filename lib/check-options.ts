import { isObject } from './bounded-json.js';
import { InvalidArgumentError, invalidArgument } from './errors.js';
import { nearestName } from './nearest-name.js';

/** Which options a call has. */
export interface OptionRules {
  /** Names that are read. */
  known: readonly string[];
  /**
   * Names that code ported from Python may give and that have no meaning here, with the values at
   * which leaving them out changes nothing; null and undefined always do.
   */
  unused?: Readonly<Record<string, 'any' | readonly unknown[]>>;
  /** What to do instead, for names whose nearest one is not what is meant. */
  remedies?: Readonly<Record<string, string>>;
}

/**
 * @param call as the user knows it, such as "AutoTokenizer.from_pretrained".
 * @throws InvalidArgumentError for what is no object of options, a list among it.
 */
export function requireOptions(call: string, options: unknown): asserts options is object {
  if (!isObject(options)) {
    throw invalidArgument(`the options of ${call}`, 'an object', options);
  }
}

/**
 * Refuses what would otherwise be dropped in silence: a misspelt option, or one that asks for what
 * this version does not do.
 *
 * @param call as the user knows it, such as "AutoTokenizer.from_pretrained".
 * @throws InvalidArgumentError naming the option, and the nearest one there is.
 */
export function checkOptions(call: string, options: unknown, rules: OptionRules): void {
  requireOptions(call, options);
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === null || rules.known.includes(name)) continue;
    const unused = Object.hasOwn(rules.unused ?? {}, name) ? rules.unused?.[name] : undefined;
    if (unused === 'any' || unused?.includes(value)) continue;
    const nearest =
      unused === undefined ? `Did you mean \`${nearestName(name, rules.known)}\`?` : '';
    throw new InvalidArgumentError(
      unused === undefined
        ? `${call} has no option \`${name}\``
        : `\`${name}\` of ${call} is not supported`,
      {
        subject: name,
        found: value,
        remedy: rules.remedies?.[name] ?? (nearest || 'Leave it out.'),
      },
    );
  }
}
