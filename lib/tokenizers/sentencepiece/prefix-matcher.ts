interface Node {
  end: boolean;
  next: Map<string, Node>;
}

/** Finds user-defined symbols, which SentencePiece neither normalizes nor splits. Longest match wins. */
export class PrefixMatcher {
  readonly #root: Node = { end: false, next: new Map() };

  constructor(symbols: Iterable<string>) {
    for (const symbol of symbols) {
      let node = this.#root;
      for (const char of symbol) {
        let child = node.next.get(char);
        if (child === undefined) {
          child = { end: false, next: new Map() };
          node.next.set(char, child);
        }
        node = child;
      }
      node.end = true;
    }
  }

  /** UTF-16 length of the longest symbol at `start`; 0 if there is none. */
  match(text: string, start: number): number {
    let node = this.#root;
    let length = 0;
    for (let at = start; at < text.length; ) {
      const char = String.fromCodePoint(text.codePointAt(at) as number);
      const child = node.next.get(char);
      if (child === undefined) break;
      at += char.length;
      if (child.end) length = at - start;
      node = child;
    }
    return length;
  }
}
