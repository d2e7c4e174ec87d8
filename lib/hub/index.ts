/** Local folders for model ids, through the Hub and the cache that Python's huggingface_hub shares. */
export type { ProgressCallback, ProgressInfo } from './progress.js';
export { type HubOptions, resolveModelDir } from './resolve.js';
