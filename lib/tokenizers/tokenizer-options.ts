import type { OptionRules } from '../check-options.js';
import type { PaddingSide } from './batch-encoding.js';
import type { TruncationStrategy } from './truncation.js';

/** Options of a call on the tokenizer; names and defaults are transformers'. */
export interface TokenizerCallOptions {
  /** Second text of a pair, or one for each text. */
  text_pair?: string | readonly string[] | null;
  /** Put bos, eos and the like in. Default true. */
  add_special_tokens?: boolean;
  /** `true` or 'longest': to the longest row; 'max_length': to `max_length`. Default false. */
  padding?: boolean | 'longest' | 'max_length' | 'do_not_pad';
  /** Default: the tokenizer's. */
  padding_side?: PaddingSide;
  /** Padded rows have a multiple of so many tokens. */
  pad_to_multiple_of?: number | null;
  /**
   * Cut rows that are longer than `max_length`: `true` or 'longest_first' the longer text of a pair, until
   * both are as long; 'only_first' and 'only_second' one of them. Default false, but 'longest_first' where
   * `max_length` is given without padding.
   */
  truncation?: boolean | TruncationStrategy | 'do_not_truncate' | null;
  /** In tokens, special ones included. Default: model_max_length. */
  max_length?: number | null;
  /** 'pt' (or 'np', true): int64 tensors [rows, length]; a single text is then one row. */
  return_tensors?: 'pt' | 'np' | boolean | null;
  /** The same under transformers.js' name. */
  return_tensor?: 'pt' | 'np' | boolean | null;
  /** Default false. */
  return_token_type_ids?: boolean | null;
  /** Default true. */
  return_attention_mask?: boolean | null;
}

/** Options of the call, and those of transformers' that are not here. */
export const CALL_RULES: OptionRules = {
  known: [
    'text_pair',
    'add_special_tokens',
    'padding',
    'padding_side',
    'pad_to_multiple_of',
    'truncation',
    'max_length',
    'return_tensors',
    'return_tensor',
    'return_token_type_ids',
    'return_attention_mask',
  ] satisfies (keyof TokenizerCallOptions)[],
  unused: {
    verbose: 'any',
    stride: [0],
    is_split_into_words: [false],
    return_overflowing_tokens: [false],
    return_special_tokens_mask: [false],
    return_offsets_mapping: [false],
    return_length: [false],
  },
};

/** Options of `decode`. */
export interface DecodeOptions {
  /** Leave special tokens out. Default false. */
  skip_special_tokens?: boolean;
  /** Take spaces before punctuation away; ignored for BPE vocabularies, as in transformers 5. Default: the tokenizer's. */
  clean_up_tokenization_spaces?: boolean | null;
}

/** Options of `decode`, for checking. */
export const DECODE_RULES: OptionRules = {
  known: ['skip_special_tokens', 'clean_up_tokenization_spaces'] satisfies (keyof DecodeOptions)[],
  unused: { spaces_between_special_tokens: 'any', use_source_tokenizer: [false] },
};

/** Options of `apply_chat_template`; what else is given is seen by the template under its name. */
export interface ChatTemplateOptions {
  /** A template's text, or the name of one the tokenizer ships. */
  chat_template?: string | null;
  /** End with the header of an assistant message. Default false. */
  add_generation_prompt?: boolean;
  /** Leave the last message open, so that the model goes on with it. Default false. */
  continue_final_message?: boolean;
  /** Give ids rather than text. Default true. */
  tokenize?: boolean;
  /** Give a BatchEncoding rather than ids alone. Default true. */
  return_dict?: boolean;
  /** JSON schemas of functions. */
  tools?: readonly unknown[] | null;
  /** Documents for retrieval-augmented generation. */
  documents?: readonly unknown[] | null;
  padding?: TokenizerCallOptions['padding'];
  truncation?: TokenizerCallOptions['truncation'];
  max_length?: number | null;
  return_tensors?: TokenizerCallOptions['return_tensors'];
  return_tensor?: TokenizerCallOptions['return_tensor'];
  /** More options for the call on the tokenizer. */
  tokenizer_kwargs?: TokenizerCallOptions;
  [name: string]: unknown;
}
