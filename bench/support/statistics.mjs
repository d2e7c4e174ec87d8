export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Median, least and most. */
export function summarize(values) {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** Median, least and most of a[i] / b[i]: what two things measured side by side are to each other. */
export function pairedRatio(a, b) {
  return summarize(a.map((value, i) => value / b[i]));
}
