import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

/**
 * The options of a benchmark on the CPU: those that all of them have, and its own.
 *
 * @param numbers its own numbers, name to default
 * @param others its own other options, as parseArgs takes them
 * @returns values by name; `save` is whether the results are to be written
 */
export function parseOptions(numbers, others = {}) {
  const defaults = { threads: 2, calm: 0.05, ...numbers };
  const names = Object.keys(defaults);
  const asText = names.map((name) => [name, { type: 'string', default: String(defaults[name]) }]);
  const { values } = parseArgs({
    options: {
      ...Object.fromEntries(asText),
      ...others,
      folder: { type: 'string', default: path.join(os.tmpdir(), 'komt-bench') },
      'no-save': { type: 'boolean', default: false },
    },
  });
  const asNumbers = names.map((name) => [name, Number(values[name])]);
  return { ...values, ...Object.fromEntries(asNumbers), save: !values['no-save'] };
}
