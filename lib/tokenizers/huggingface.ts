import * as library from '@huggingface/tokenizers';

interface Normalizer {
  normalize(text: string): string;
}

/** Parts of `@huggingface/tokenizers` that are used here; its declarations leave them out. */
interface Parts {
  BertNormalizer: new (config: object) => Normalizer;
  PrecompiledNormalizer: new (config: object) => Normalizer;
  SplitPreTokenizer: new (config: object) => { pattern: RegExp };
}

export const { BertNormalizer, PrecompiledNormalizer, SplitPreTokenizer } =
  library as unknown as Parts;
