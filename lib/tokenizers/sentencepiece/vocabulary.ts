import type { Steps } from '../steps.js';
import { PieceType, type SentencePieceProto } from './proto.js';

const encoder = new TextEncoder();

/** The pieces as SentencePiece's models look at them. */
export class SentencePieceVocabulary {
  readonly proto: SentencePieceProto;
  /** Pieces that text may be split into: normal, user-defined and unused ones. */
  readonly ids = new Map<string, number>();
  /** Ids of the pieces for single bytes; null unless the model falls back to bytes. */
  readonly byteIds: Int32Array | null;

  constructor(proto: SentencePieceProto) {
    this.proto = proto;
    const bytes = new Int32Array(256).fill(-1);
    proto.pieces.forEach(({ piece, type }, id) => {
      if (type === PieceType.BYTE) {
        const byte = Number.parseInt(piece.slice(3, 5), 16);
        if (/^<0x[0-9A-F]{2}>$/.test(piece)) bytes[byte] = id;
      } else if (type !== PieceType.UNKNOWN && type !== PieceType.CONTROL) {
        if (!this.ids.has(piece)) this.ids.set(piece, id);
      }
    });
    this.byteIds = proto.byteFallback && bytes.every((id) => id >= 0) ? bytes : null;
  }

  score(id: number): number {
    return this.proto.pieces[id]?.score ?? 0;
  }

  type(id: number): number {
    return this.proto.pieces[id]?.type ?? PieceType.UNKNOWN;
  }

  /** Appends the ids of a piece, or of text that is none. */
  push(piece: string, out: number[]): void {
    const id = this.ids.get(piece);
    if (id !== undefined) out.push(id);
    else if (this.byteIds === null) out.push(UNKNOWN);
    else for (const byte of encoder.encode(piece)) out.push(this.byteIds[byte] as number);
  }

  /** Ids of user-defined symbols, which SentencePiece neither normalizes nor splits. */
  userDefined(): Map<string, number> {
    const symbols = new Map<string, number>();
    this.proto.pieces.forEach(({ piece, type }, id) => {
      if (type === PieceType.USER_DEFINED) symbols.set(piece, id);
    });
    return symbols;
  }
}

/** Stands for text that is no piece and cannot be given as bytes. */
export const UNKNOWN = -1;

/** Splits normalized text into pieces of the vocabulary. */
export interface SentencePieceModel {
  /** Appends the ids, with {@link UNKNOWN} for each character that has none. */
  encode(normalized: string, out: number[]): Steps<void>;
}
