/** Prints rows of a name and a value, the values in one column. */
export function table(rows: [string, string][]): void {
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  for (const [name, value] of rows) console.log(`${name.padEnd(width)}${value}`);
}
