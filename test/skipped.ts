/** For skipIf: says why where something is skipped. */
export function skipped(isSkipped: boolean, why: string): boolean {
  if (isSkipped) console.log(`skipped: ${why}`);
  return isSkipped;
}
