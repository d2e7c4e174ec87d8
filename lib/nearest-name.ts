/** Number of insertions, deletions and substitutions between two strings. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      current[j] = Math.min(
        (previous[j] as number) + 1,
        (current[j - 1] as number) + 1,
        (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1),
      );
    }
    previous = current;
  }
  return previous[b.length] as number;
}

/** Characters that are compared: more than any name has, and few enough to be quick. */
const COMPARED = 64;

/** The name nearest to what was written, by edit distance; of equally near ones the first. */
export function nearestName(written: string, names: readonly string[]): string {
  let best = names[0] ?? '';
  let distance = Number.POSITIVE_INFINITY;
  for (const name of names) {
    const d = editDistance(written.slice(0, COMPARED).toLowerCase(), name.toLowerCase());
    if (d < distance) {
      best = name;
      distance = d;
    }
  }
  return best;
}
