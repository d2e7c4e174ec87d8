import { TokenizerError } from '../../errors.js';

const utf8 = new TextDecoder('utf-8');

/**
 * A `precompiled_charsmap`: the longest-prefix replacement table into which SentencePiece compiles a
 * normalization such as nmt_nfkc. Layout: uint32 LE size of the trie in bytes, a double-array trie
 * (darts-clone, uint32 LE units) over UTF-8, then the replacements as zero-terminated UTF-8.
 */
export class Charsmap {
  readonly #units: Uint32Array;
  readonly #replacements: Uint8Array;

  /** @throws TokenizerError if the table's sizes cannot be right. */
  constructor(blob: Uint8Array, file: string) {
    const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
    const size = blob.length >= 4 ? view.getUint32(0, true) : 0;
    if (size === 0 || size % 4 !== 0 || size > blob.length - 4) {
      throw new TokenizerError('Damaged SentencePiece model: precompiled_charsmap', {
        file,
        expected: 'a trie inside the table',
        found: `${size} of ${blob.length} bytes`,
      });
    }
    this.#units = new Uint32Array(size / 4);
    for (let i = 0; i < this.#units.length; i++) this.#units[i] = view.getUint32(4 + 4 * i, true);
    this.#replacements = blob.subarray(4 + size);
  }

  /** The longest key that `bytes` has at `start`: its length and replacement, or null. */
  match(bytes: Uint8Array, start: number): { length: number; text: string } | null {
    const units = this.#units;
    let node = offsetOf(units[0] as number);
    let length = 0;
    let value = 0;
    for (let i = start; i < bytes.length; i++) {
      const byte = bytes[i] as number;
      node ^= byte;
      const unit = units[node];
      // Bits 0-7 and 31 hold the label of a unit that is no value.
      if (unit === undefined || (unit & 0x800000ff) >>> 0 !== byte) break;
      node ^= offsetOf(unit);
      if (((unit >>> 8) & 1) === 1) {
        const leaf = units[node];
        if (leaf === undefined) break;
        length = i - start + 1;
        value = leaf & 0x7fffffff;
      }
    }
    return length === 0 ? null : { length, text: this.#text(value) };
  }

  #text(at: number): string {
    const end = this.#replacements.indexOf(0, at);
    return utf8.decode(this.#replacements.subarray(at, end < 0 ? undefined : end));
  }
}

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & (1 << 9)) >>> 6);
}
