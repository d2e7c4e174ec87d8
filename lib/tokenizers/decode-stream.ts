import type { TokenDecoder } from './token-decoders.js';

function isList(ids: number | readonly number[]): ids is readonly number[] {
  return Array.isArray(ids) || (ArrayBuffer.isView(ids) && !(ids instanceof DataView));
}

/** Incremental decoding of one sequence; see `PreTrainedTokenizer.decodeStream`. */
export class DecodeStream {
  readonly #decoder: TokenDecoder;
  readonly #tokens: (ids: readonly number[]) => string[];

  /** @internal */
  constructor(decoder: TokenDecoder, tokens: (ids: readonly number[]) => string[]) {
    this.#decoder = decoder;
    this.#tokens = tokens;
  }

  /**
   * Text that these ids settle; '' while a character is not whole. O(1) a token.
   *
   * @throws InvalidArgumentError for what is no id: an integer of 0 or more. Ids that the vocabulary does
   * not have give nothing.
   */
  push(ids: number | readonly number[]): string {
    let text = '';
    for (const token of this.#tokens(isList(ids) ? ids : [ids])) {
      text += this.#decoder.push(token);
    }
    return text;
  }

  /**
   * Takes ids whose text is not to be shown, a prompt, at the start of a stream. Should they end
   * inside a character, the bytes that complete it are not shown either.
   */
  skip(ids: readonly number[]): void {
    this.push(ids);
    this.#decoder.conceal();
  }

  /** Ends the text and gives what was held back: U+FFFD for bytes that never made a character. */
  finish(): string {
    return this.#decoder.finish();
  }
}
