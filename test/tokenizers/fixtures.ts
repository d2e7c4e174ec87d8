import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { ChatMessage, TokenizerCallOptions } from '../../lib/tokenizers/index.js';

/** Small tokenizers and their answers; made by tools/make-tokenizer-fixtures.py. */
export const FIXTURES = path.resolve(import.meta.dirname, '../fixtures/tokenizers');
export const KOMT_TINY = path.resolve(import.meta.dirname, '../../models/komt-tiny');

export interface Answers {
  encode: number[][];
  decode: { ids: number[]; text: string; skipped: string }[];
}

interface Expected {
  /** 200 Korean, emoji, English and mixed texts. */
  texts: string[];
  cleaned: { ids: number[]; text: string }[];
  metaspace: { json: Record<string, unknown>; decode: Answers['decode'] };
  chats: {
    tokenizer: string;
    messages: ChatMessage[];
    options: Record<string, unknown>;
    text: string;
    ids?: number[];
  }[];
  calls: {
    text: string | string[];
    options: TokenizerCallOptions;
    input_ids: unknown;
    attention_mask: unknown;
  }[];
}

const parsed = JSON.parse(readFileSync(path.join(FIXTURES, 'expected.json'), 'utf8'));

export const expected = parsed as Expected;
export const answersOf = (name: string): Answers => parsed[name] as Answers;
export const at = (name: string): string => path.join(FIXTURES, name);
