export { AutoTokenizer, type AutoTokenizerOptions } from './auto-tokenizer.js';
export { BatchEncoding, type EncodedIds, type PaddingSide } from './batch-encoding.js';
export type { ChatMessage } from './chat-template.js';
export { DecodeStream } from './decode-stream.js';
export { PreTrainedTokenizer } from './pretrained-tokenizer.js';
export type { AddedToken, SpecialTokenName } from './special-tokens.js';
export {
  applyPromptTemplate,
  PROMPT_STOP_STRINGS,
  PROMPT_TEMPLATES,
  type PromptTemplateName,
} from './templates.js';
export type {
  ChatTemplateOptions,
  DecodeOptions,
  TokenizerCallOptions,
} from './tokenizer-options.js';
