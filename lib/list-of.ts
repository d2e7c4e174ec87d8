/**
 * Whether a value is a list in which every item holds. Unlike Array's own `every` it takes a hole for an
 * item, which is undefined: looking for the next item of a list with four thousand million holes takes minutes.
 */
export function isListOf<T>(value: unknown, holds: (item: unknown) => item is T): value is T[];
export function isListOf(value: unknown, holds: (item: unknown) => boolean): value is unknown[];
export function isListOf(value: unknown, holds: (item: unknown) => boolean): boolean {
  if (!Array.isArray(value)) return false;
  for (let i = 0; i < value.length; i++) if (!holds(value[i])) return false;
  return true;
}
