/** Control characters but tab and line feed: C0, DEL, C1; with them every escape sequence of a terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is meant
const CONTROL = /[\0-\x08\x0b-\x1f\x7f-\x9f]/g;

/**
 * Text as it may be written to `stream`. A model may say anything, and on a terminal escape sequences would
 * be obeyed: OSC 52 writes to the clipboard, others change the title or what was printed before. What is
 * not a terminal gets the text as it is.
 */
export function printable(text: string, stream: { isTTY?: boolean }): string {
  return stream.isTTY ? text.replace(CONTROL, '') : text;
}

/** Writes a piece of an answer to standard output. */
export function writeAnswer(text: string): void {
  process.stdout.write(printable(text, process.stdout));
}

/**
 * Ends the program where standard output can't be written: quietly after a reader such as `head` that has
 * seen enough, else with 1 and what the system says.
 */
export function exitOnBrokenOutput(): void {
  // There is nowhere to say that standard error can't be written.
  process.stderr.on('error', () => undefined);
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit();
    console.error(`komt: Standard output cannot be written: ${error.message}`);
    process.exit(1);
  });
}
