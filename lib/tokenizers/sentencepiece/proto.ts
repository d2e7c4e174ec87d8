import { TokenizerError } from '../../errors.js';
import { MAX_MODEL_BYTES } from '../limits.js';
import type { Steps } from '../steps.js';

/** Kinds of piece (`ModelProto.SentencePiece.Type`). */
export const PieceType = {
  NORMAL: 1,
  UNKNOWN: 2,
  CONTROL: 3,
  USER_DEFINED: 4,
  UNUSED: 5,
  BYTE: 6,
} as const;

export interface Piece {
  piece: string;
  /** float32; log-probability (unigram) or minus the order of the merge (BPE). */
  score: number;
  type: number;
}

/** What encoding needs to know of a `tokenizer.model` (sentencepiece_model.proto). */
export interface SentencePieceProto {
  pieces: Piece[];
  modelType: 'unigram' | 'bpe';
  byteFallback: boolean;
  treatWhitespaceAsSuffix: boolean;
  unkId: number;
  bosId: number;
  eosId: number;
  padId: number;
  normalizer: {
    precompiledCharsmap: Uint8Array;
    addDummyPrefix: boolean;
    removeExtraWhitespaces: boolean;
    escapeWhitespaces: boolean;
  };
}

/** Gemma 3, the largest published, has 262,144 pieces. */
const MAX_PIECES = 1_000_000;
/** The longest published are runs of spaces of 64 characters; each place of a text may cost as many steps. */
const MAX_PIECE_BYTES = 1024;
/** Text of all pieces; Gemma 3 has 2.4 MB. */
const MAX_TEXT_BYTES = 16 * 1024 * 1024;
/** Fields between two places where the work may be interrupted. */
const PIECE = 512;

const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Protocol buffer wire format, forwards only, never past the end of its message. */
class Reader {
  readonly #view: DataView;
  readonly #file: string;
  #at = 0;

  constructor(bytes: Uint8Array, file: string) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#file = file;
  }

  get done(): boolean {
    return this.#at >= this.#view.byteLength;
  }

  fail(what: string, expected?: unknown, found?: unknown): TokenizerError {
    return new TokenizerError(`Damaged SentencePiece model: ${what}`, {
      file: this.#file,
      expected,
      found,
      remedy: 'Download tokenizer.model again, or use a repository that has a tokenizer.json.',
    });
  }

  #need(count: number): number {
    const at = this.#at;
    if (count > this.#view.byteLength - at) {
      throw this.fail(
        'a field reaches past the end of its message',
        `${count} bytes at ${at}`,
        this.#view.byteLength - at,
      );
    }
    this.#at += count;
    return at;
  }

  /** The low 49 bits of a varint, enough for a length; and whether any above them is set. */
  #varint(): { value: number; more: boolean } {
    let value = 0;
    let more = false;
    for (let i = 0; i < 10; i++) {
      const byte = this.#view.getUint8(this.#need(1));
      if (i < 7) value += (byte & 0x7f) * 128 ** i;
      else if ((byte & 0x7f) !== 0) more = true;
      if (byte < 0x80) return { value, more };
    }
    throw this.fail('a varint has more than 10 bytes');
  }

  /** A varint that is no more than a file can hold. */
  varint(): number {
    const { value, more } = this.#varint();
    return more ? Number.MAX_SAFE_INTEGER : value;
  }

  /** Field number and wire type of the next field. */
  tag(): { field: number; wire: number } {
    const tag = this.varint();
    const field = Math.floor(tag / 8);
    if (field === 0) throw this.fail('field number 0');
    return { field, wire: tag % 8 };
  }

  expect(field: number, wire: number, wanted: number): void {
    if (wire !== wanted) throw this.fail(`wire type of field ${field}`, wanted, wire);
  }

  /** Two's complement: a negative number has all 64 bits. */
  int32(): number {
    return this.#varint().value | 0;
  }

  float(): number {
    return this.#view.getFloat32(this.#need(4), true);
  }

  bytes(): Uint8Array {
    const length = this.varint();
    const at = this.#need(length);
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + at, length);
  }

  string(): string {
    const bytes = this.bytes();
    if (bytes.length > MAX_PIECE_BYTES) {
      throw this.fail('a piece is too long', `at most ${MAX_PIECE_BYTES} bytes`, bytes.length);
    }
    try {
      return utf8.decode(bytes);
    } catch {
      throw this.fail('a piece is not UTF-8');
    }
  }

  skip(wire: number): void {
    if (wire === WIRE.varint) this.varint();
    else if (wire === WIRE.fixed64) this.#need(8);
    else if (wire === WIRE.bytes) this.#need(this.varint());
    else if (wire === WIRE.fixed32) this.#need(4);
    else throw this.fail('unknown wire type', '0, 1, 2 or 5', wire);
  }

  /** Calls `field` for each field; it returns false for one it does not read. */
  fields(field: (number: number, wire: number) => boolean): void {
    while (!this.done) {
      const { field: number, wire } = this.tag();
      if (!field(number, wire)) this.skip(wire);
    }
  }
}

function readPiece(bytes: Uint8Array, file: string): Piece {
  const reader = new Reader(bytes, file);
  const piece: Piece = { piece: '', score: 0, type: PieceType.NORMAL };
  reader.fields((field, wire) => {
    if (field === 1) {
      reader.expect(field, wire, WIRE.bytes);
      piece.piece = reader.string();
    } else if (field === 2) {
      reader.expect(field, wire, WIRE.fixed32);
      piece.score = reader.float();
    } else if (field === 3) {
      reader.expect(field, wire, WIRE.varint);
      piece.type = reader.int32();
    } else {
      return false;
    }
    return true;
  });
  if (piece.piece === '') throw reader.fail('a piece is empty');
  if (Number.isNaN(piece.score))
    throw reader.fail('a score is not a number', undefined, piece.piece);
  if (piece.type < PieceType.NORMAL || piece.type > PieceType.BYTE) {
    throw reader.fail('unknown type of piece', '1 to 6', piece.type);
  }
  return piece;
}

function readTrainer(bytes: Uint8Array, file: string, proto: SentencePieceProto): void {
  const reader = new Reader(bytes, file);
  let type = 1;
  reader.fields((field, wire) => {
    if (![3, 24, 35, 40, 41, 42, 43].includes(field)) return false;
    reader.expect(field, wire, WIRE.varint);
    const value = reader.int32();
    if (field === 3) type = value;
    else if (field === 24) proto.treatWhitespaceAsSuffix = value !== 0;
    else if (field === 35) proto.byteFallback = value !== 0;
    else if (field === 40) proto.unkId = value;
    else if (field === 41) proto.bosId = value;
    else if (field === 42) proto.eosId = value;
    else proto.padId = value;
    return true;
  });
  if (type !== 1 && type !== 2) {
    throw new TokenizerError('Unsupported SentencePiece algorithm', {
      file,
      expected: 'unigram (1) or bpe (2)',
      found: type,
      remedy: 'Models of type word (3) and char (4) are not used by Llama checkpoints.',
    });
  }
  proto.modelType = type === 1 ? 'unigram' : 'bpe';
}

function readNormalizer(bytes: Uint8Array, file: string, proto: SentencePieceProto): void {
  const reader = new Reader(bytes, file);
  reader.fields((field, wire) => {
    if (field === 2) {
      reader.expect(field, wire, WIRE.bytes);
      proto.normalizer.precompiledCharsmap = reader.bytes();
      return true;
    }
    if (field < 3 || field > 5) return false;
    reader.expect(field, wire, WIRE.varint);
    const value = reader.varint() !== 0;
    if (field === 3) proto.normalizer.addDummyPrefix = value;
    else if (field === 4) proto.normalizer.removeExtraWhitespaces = value;
    else proto.normalizer.escapeWhitespaces = value;
    return true;
  });
}

/**
 * Reads a `tokenizer.model`. Unknown fields are skipped; lengths, counts, types and ids are bounded, so
 * that a damaged or hostile file is an error and nothing else.
 *
 * @param bytes the file's content.
 * @param file its name, for messages.
 * @throws TokenizerError if the file is damaged, or is a word or character model.
 */
export function* readSentencePieceModel(
  bytes: Uint8Array,
  file: string,
): Steps<SentencePieceProto> {
  const reader = new Reader(bytes, file);
  if (bytes.length > MAX_MODEL_BYTES) {
    throw reader.fail('the file is too large', `at most ${MAX_MODEL_BYTES} bytes`, bytes.length);
  }
  let textBytes = 0;
  // Defaults are those of sentencepiece_model.proto.
  const proto: SentencePieceProto = {
    pieces: [],
    modelType: 'unigram',
    byteFallback: false,
    treatWhitespaceAsSuffix: false,
    unkId: 0,
    bosId: 1,
    eosId: 2,
    padId: -1,
    normalizer: {
      precompiledCharsmap: new Uint8Array(),
      addDummyPrefix: true,
      removeExtraWhitespaces: true,
      escapeWhitespaces: true,
    },
  };
  for (let count = 1; !reader.done; count++) {
    if (count % PIECE === 0) yield;
    const { field, wire } = reader.tag();
    if (field > 3) {
      reader.skip(wire);
      continue;
    }
    reader.expect(field, wire, WIRE.bytes);
    const message = reader.bytes();
    if (field === 1) {
      textBytes += message.length;
      if (proto.pieces.length >= MAX_PIECES) throw reader.fail('too many pieces', MAX_PIECES);
      if (textBytes > MAX_TEXT_BYTES) {
        throw reader.fail('the pieces are too long', `${MAX_TEXT_BYTES} bytes together`);
      }
      proto.pieces.push(readPiece(message, file));
    } else if (field === 2) {
      readTrainer(message, file, proto);
    } else {
      readNormalizer(message, file, proto);
    }
  }
  const unknown = proto.pieces.findIndex((piece) => piece.type === PieceType.UNKNOWN);
  if (unknown < 0) throw reader.fail('no unknown piece among the pieces', 'one of type 2', 'none');
  proto.unkId = unknown;
  return proto;
}
