import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readBoundedJson } from '../bounded-json.js';
import { LIMITS } from './types.js';

/** What a folder is, where it is no checkpoint of transformers. */
export interface ForeignFormat {
  found: string;
  remedy: string;
}

/** Recognises by its file names what people often have in place of a model's folder. */
export function foreignFormat(names: readonly string[]): ForeignFormat | undefined {
  const some = (pattern: RegExp) => names.find((name) => pattern.test(name));
  if (names.includes('adapter_config.json')) {
    return {
      found: 'a LoRA adapter (adapter_config.json)',
      remedy: 'Adapters cannot be loaded: merge it into its base model and load the result.',
    };
  }
  const gguf = some(/\.gguf$/i);
  if (gguf !== undefined) {
    return {
      found: `a GGUF model (${gguf})`,
      remedy:
        'GGUF cannot be read: use the repository that it was converted from, with config.json and ' +
        'safetensors.',
    };
  }
  if (names.includes('params.json') && some(/^consolidated\.\d+\.pth$/)) {
    return {
      found: "Meta's own format (params.json, consolidated.*.pth)",
      remedy: 'Use the -hf repository of the model, or convert it with transformers.',
    };
  }
  if (names.includes('snapshots') && names.includes('refs')) {
    return {
      found: 'a repository of the Hub cache',
      remedy: 'Give the id of the repository, or one of the folders in snapshots/.',
    };
  }
  const unfinished = some(/\.(incomplete|part|partial|crdownload|aria2|tmp)$/i);
  if (unfinished !== undefined) {
    return {
      found: `an unfinished download (${unfinished})`,
      remedy: 'Let the download finish, or repeat it.',
    };
  }
  return undefined;
}

/** As {@link foreignFormat}, for a local folder; an adapter's base model is named. */
export async function foreignFolder(folder: string): Promise<ForeignFormat | undefined> {
  const names: string[] = await readdir(folder).catch(() => []);
  const foreign = foreignFormat(names);
  if (foreign === undefined || !names.includes('adapter_config.json')) return foreign;
  const base = await baseModel(join(folder, 'adapter_config.json'));
  return base === undefined ? foreign : { ...foreign, found: `${foreign.found} for ${base}` };
}

async function baseModel(file: string): Promise<string | undefined> {
  try {
    const { base_model_name_or_path: base } = await readBoundedJson(file, {
      maxBytes: LIMITS.configBytes,
      maxValues: LIMITS.configValues,
      maxDepth: LIMITS.jsonDepth,
    });
    return typeof base === 'string' ? base : undefined;
  } catch {
    return undefined;
  }
}
