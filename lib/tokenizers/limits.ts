/**
 * What a tokenizer's files and texts may cost. Each limit is far above everything published, and small
 * enough that a hostile file is refused before it has cost more than 2 s or 500 MB.
 */

/** tokenizer.json of Gemma 3, the largest vocabulary published, has 33 MB. */
export const MAX_TOKENIZER_JSON_BYTES = 128 * 1024 * 1024;
/** That file has 2.1 M values. */
export const MAX_TOKENIZER_JSON_VALUES = 4_000_000;
/**
 * Opening braces and brackets. Objects cost V8 60 bytes at least, lists 30; there is an object for each
 * added token, and a list for each merge: 515 K in that file.
 */
export const MAX_TOKENIZER_JSON_BRACES = 200_000;
export const MAX_TOKENIZER_JSON_BRACKETS = 1_500_000;
/** tokenizer_config.json of Llama 3, with its 256 reserved tokens, has 51 KB and 2 K values. */
export const MAX_SETTINGS_BYTES = 16 * 1024 * 1024;
export const MAX_SETTINGS_VALUES = 500_000;
/** A decoder inside a sequence inside a sequence is at depth 8. */
export const MAX_JSON_DEPTH = 32;
/** tokenizer.model of Gemma 3 has 4.7 MB. */
export const MAX_MODEL_BYTES = 64 * 1024 * 1024;

/** Ids that may be left free: embeddings are padded by hundreds, and reserved ids come in thousands. */
export const ID_SLACK = 65_536;
/** Code units of an added token; published ones have 30. Each place of a text may cost as many steps. */
export const MAX_ADDED_TOKEN_LENGTH = 1024;
/** Components of a normalizer, pre-tokenizer or decoder, sequences flattened; published ones have 6. */
export const MAX_COMPONENTS = 64;

/**
 * Normalized text may be this many times longer than the text: NFKD, the normalization that adds most,
 * makes 18 characters of U+FDFA.
 */
export const MAX_GROWTH = 32;
/** Added to that, so that a short text may get a prefix. */
export const GROWTH_SLACK = 65_536;

/** Characters of a chat template; the longest published have 30 K. */
export const MAX_TEMPLATE_LENGTH = 256 * 1024;

/** Of `pad_to_multiple_of`: multiples are for tensor cores, 8, 64 or 128. */
export const MAX_PAD_MULTIPLE = 65_536;
