import { join } from 'node:path';
import { readShardIndex } from '../checkpoint/index-json.js';
import { sizeOf } from './cache.js';

/** Everything but the weights that a model may come with; each is taken where it is there. */
const SIDE_FILES: ReadonlySet<string> = new Set([
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'chat_template.jinja',
  'chat_template.json',
]);

/** Forms of a checkpoint, best first; in the order in which openCheckpoint looks for them. */
const WEIGHTS = [
  { name: 'model.safetensors' },
  { name: 'model.safetensors.index.json', extension: '.safetensors' },
  { name: 'pytorch_model.bin' },
  { name: 'pytorch_model.bin.index.json', extension: '.bin' },
] as const;

type WeightForm = (typeof WEIGHTS)[number];

/** The forms that transformers' `use_safetensors` leaves, best first: true leaves only safetensors. */
function weightForms(use_safetensors: boolean | undefined): readonly WeightForm[] {
  const isSafetensors = ({ name }: WeightForm) => name.startsWith('model.');
  if (use_safetensors === undefined) return WEIGHTS;
  const safetensors = WEIGHTS.filter(isSafetensors);
  if (use_safetensors) return safetensors;
  return [...WEIGHTS.filter((form) => !isSafetensors(form)), ...safetensors];
}

/** Files by which a checkpoint is recognised, best first. */
export function weightFiles(use_safetensors: boolean | undefined): string[] {
  return weightForms(use_safetensors).map(({ name }) => name);
}

/** File names among `names` that loading a model begins with: side files, and one weight file or index. */
export function selectModelFiles(
  names: readonly string[],
  use_safetensors: boolean | undefined,
): string[] {
  const weights = weightFiles(use_safetensors).find((name) => names.includes(name));
  return names.filter((name) => SIDE_FILES.has(name) || name === weights);
}

/** File names among `names` that match one of `patterns`, in which `*` stands for any characters. */
export function selectByPatterns(names: readonly string[], patterns: readonly string[]): string[] {
  const expressions = patterns.map((pattern) => {
    const literals = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
    return new RegExp(`^${literals.join('[^/]*')}$`);
  });
  return names.filter((name) => expressions.some((expression) => expression.test(name)));
}

/**
 * Names of the shards that the index in `folder` lists; none where the weights are one file or missing.
 * @throws CheckpointError: the index is malformed or names files outside of the folder.
 */
export async function listShards(
  folder: string,
  use_safetensors: boolean | undefined,
): Promise<string[]> {
  for (const form of weightForms(use_safetensors)) {
    if ((await sizeOf(join(folder, form.name))) === undefined) continue;
    if (!('extension' in form)) return [];
    return (await readShardIndex(folder, form.name, form.extension)).shards;
  }
  return [];
}

/** What is missing in `folder` for a model to be loaded from it. */
export async function missingModelFiles(
  folder: string,
  use_safetensors: boolean | undefined,
): Promise<string[]> {
  const missing: string[] = [];
  const present = async (name: string) => (await sizeOf(join(folder, name))) !== undefined;
  if (!(await present('config.json'))) missing.push('config.json');
  const forms = weightFiles(use_safetensors);
  const weights = await Promise.all(forms.map(present));
  if (!weights.includes(true)) missing.push(forms.join(' or '));
  for (const shard of await listShards(folder, use_safetensors))
    if (!(await present(shard))) missing.push(shard);
  return missing;
}
