/** A signal that fires on Ctrl-C; a second Ctrl-C ends the process as usual. */
export function interruptible(): { signal: AbortSignal; done(): void } {
  const controller = new AbortController();
  const onInterrupt = () => controller.abort();
  process.once('SIGINT', onInterrupt);
  return { signal: controller.signal, done: () => process.off('SIGINT', onInterrupt) };
}
