/**
 * White space as Unicode has it (the property `White_Space`), and Rust with it: JavaScript's `trim` takes
 * U+FEFF and leaves U+0085.
 */
export function isWhiteSpace(unit: number): boolean {
  return (
    unit === 0x20 ||
    (unit >= 0x09 && unit <= 0x0d) ||
    unit === 0x85 ||
    unit === 0xa0 ||
    unit === 0x1680 ||
    (unit >= 0x2000 && unit <= 0x200a) ||
    unit === 0x2028 ||
    unit === 0x2029 ||
    unit === 0x202f ||
    unit === 0x205f ||
    unit === 0x3000
  );
}

/** Where the white space that ends at `at` begins, not before `from`. */
export function startOfSpace(text: string, at: number, from = 0): number {
  let start = at;
  while (start > from && isWhiteSpace(text.charCodeAt(start - 1))) start--;
  return start;
}

/** Where the white space that begins at `at` ends. */
export function endOfSpace(text: string, at: number): number {
  let end = at;
  while (end < text.length && isWhiteSpace(text.charCodeAt(end))) end++;
  return end;
}
