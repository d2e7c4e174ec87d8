import type { Command } from 'commander';
import {
  AutoConfig,
  buildInfo,
  type DeviceInfo,
  estimateMemory,
  listDevices,
  type PretrainedConfig,
  parseDType,
} from 'komt';
import { formatBytes } from '../format-bytes.js';
import { addLoadOptions, type LoadFlags, loadOptions } from './options.js';
import { packageVersion } from './package.js';

function count(n: number): string {
  return n >= 1e9 ? `${(n / 1e9).toFixed(2)} G` : `${(n / 1e6).toFixed(1)} M`;
}

function table(rows: [string, string][]): void {
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  for (const [name, value] of rows) console.log(`${name.padEnd(width)}${value}`);
}

function showInstallation(devices: DeviceInfo[]): void {
  const build = buildInfo();
  table([
    ['komt', packageVersion()],
    ['Node.js', `${process.version} on ${process.platform}-${process.arch}`],
    [
      'built',
      build.backends.join(', ') +
        (build.cudaArchitectures ? ` (CUDA for ${build.cudaArchitectures})` : ''),
    ],
    ['compiler', build.compiler ?? 'unknown'],
    ...devices.map((d): [string, string] => [
      d.name,
      `${d.description}, ${formatBytes(d.memoryFree)} free of ${formatBytes(d.memoryTotal)}, ${d.features.join(' ')}`,
    ]),
  ]);
  if (!build.backends.includes('cuda')) {
    console.log('\nNo CUDA backend: it is built where the CUDA toolkit (12.2 or newer) is found.');
  }
}

function showModel(config: PretrainedConfig, devices: DeviceInfo[], flags: LoadFlags): void {
  const dtype =
    (flags.dtype === 'auto' ? undefined : parseDType(flags.dtype)) ??
    parseDType(config.dtype ?? 'float32') ??
    'float32';
  const heads =
    config.num_key_value_heads === config.num_attention_heads
      ? `${config.num_attention_heads} heads`
      : `${config.num_attention_heads} heads over ${config.num_key_value_heads}`;
  console.log('');
  table([
    [
      'model',
      `${config.model_type}, ${config.num_hidden_layers} layers of ${config.hidden_size}, ${heads} of ${config.head_dim}`,
    ],
    ['vocabulary', `${config.vocab_size} ids`],
    ['context', `${config.max_position_embeddings} tokens, rope ${config.rope.rope_type}`],
    ['parameters', count(estimateMemory(config, dtype, dtype).parameters)],
  ]);
  for (const device of devices) {
    const cuda = device.name.startsWith('cuda');
    const compute = cuda && dtype === 'float32' ? 'float16' : dtype;
    const cache = cuda ? compute : 'float32';
    const { weightBytes, cacheBytesPerToken } = estimateMemory(config, compute, cache);
    const context = Math.floor((device.memoryFree - weightBytes) / cacheBytesPerToken);
    const half = compute === 'float32' ? '; --dtype float16 halves the weights' : '';
    const fits =
      context > 0
        ? `fits; room for ${Math.min(context, config.max_position_embeddings)} tokens of one sequence`
        : `does not fit: ${formatBytes(weightBytes - device.memoryFree)} too much${half}`;
    console.log(
      `\non ${device.name} in ${compute}: weights ${formatBytes(weightBytes)}, cache ${formatBytes(cacheBytesPerToken * 1024)} per 1,024 tokens (${cache})\n  ${fits}`,
    );
  }
}

export function addInspectCommand(program: Command): void {
  addLoadOptions(program.command('inspect'))
    .description(
      'Show devices and what was built; with --model, what the model needs, before anything is loaded',
    )
    .action(async (flags: LoadFlags) => {
      const devices = listDevices();
      showInstallation(devices);
      if (flags.model === undefined) return;
      const { device_map: _, dtype: __, num_threads: ___, ...hub } = loadOptions(flags);
      showModel(await AutoConfig.from_pretrained(flags.model, hub), devices, flags);
    });
}
