/** Value below which a share of the values lies, interpolated. */
function quantile(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

export const median = (values) => quantile(values, 0.5);

export function summarize(values) {
  return {
    median: median(values),
    min: Math.min(...values),
    quarter: quantile(values, 0.25),
    threeQuarters: quantile(values, 0.75),
    max: Math.max(...values),
  };
}

/** Summary of a[i] / b[i]: what two things measured side by side are to each other. */
export function pairedRatio(a, b) {
  return summarize(a.map((value, i) => value / b[i]));
}
