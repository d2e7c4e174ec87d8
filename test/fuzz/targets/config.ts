import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { nativeConfig } from '../../../lib/models/architecture.js';
import { AutoConfig } from '../../../lib/models/config.js';
import { estimateMemory, layerMemory } from '../../../lib/models/memory.js';
import { mutateJsonFile } from '../json-file.js';
import type { FuzzTarget } from '../target.js';

const FIXTURES = 'test/fixtures/configs/configs.json';

function require(condition: boolean, what: string): void {
  if (!condition) throw new Error(`The config was accepted, but ${what}`);
}

/** config.json of a local folder, up to what the engine is given. */
export const target: FuzzTarget = {
  name: 'config',
  sources: [
    'lib/models/config.ts',
    'lib/models/config-reader.ts',
    'lib/models/rope-parameters.ts',
    'lib/models/rope.ts',
    'lib/models/memory.ts',
  ],
  minimumCoverage: 83,
  seeds() {
    const cases = JSON.parse(readFileSync(FIXTURES, 'utf8')) as { config: object }[];
    return cases.map(({ config }) => Buffer.from(JSON.stringify(config)));
  },
  mutate: mutateJsonFile,
  async run(input, folder) {
    writeFileSync(path.join(folder, 'config.json'), input);
    const config = await AutoConfig.from_pretrained(folder);
    const memory = estimateMemory(config, 'float32', 'float32');
    for (const [name, value] of Object.entries(memory)) {
      require(Number.isSafeInteger(value) && value > 0, `${name} is ${value}`);
    }
    const layers = layerMemory(config, 'float32');
    const bytes = layers.layers.reduce((sum, layer) => sum + layer, layers.first + layers.last);
    require(bytes === memory.weightBytes, `its parts have ${bytes} bytes`);
    const { rope, sliding_window, rms_norm_eps } = nativeConfig(config, 'float32');
    require(rope.inv_freq.length === config.head_dim / 2, 'it lacks frequencies');
    require(rope.inv_freq.every(Number.isFinite), 'a frequency is not finite');
    require(Number.isFinite(Math.fround(rope.attention_scaling)), 'a scaling is not finite');
    require(Number.isFinite(Math.fround(rms_norm_eps)), 'the epsilon is not finite');
    require(sliding_window.length === config.num_hidden_layers, 'layers have no type');
  },
  planted: {
    file: 'lib/models/config-reader.ts',
    find: 'const valid = Array.isArray(value) && value.length <= MAX_NAMES && isListOf(value, isName);',
    replace: 'const valid = (value as string[]).every(isName);',
  },
};
