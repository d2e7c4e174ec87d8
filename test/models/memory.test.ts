import { afterEach, expect, it, vi } from 'vitest';
import { AutoModelForCausalLM, OutOfMemoryError } from '../../lib/index.js';
import { PretrainedConfig } from '../../lib/models/config.js';
import { layerMemory, requireMemory } from '../../lib/models/memory.js';
import type { DeviceInfo } from '../../lib/native/addon.js';
import { loadAddon } from '../../lib/native/load.js';
import { KOMT_TINY } from '../tokenizers/fixtures.js';

const device = (name: string, memoryFree: number): DeviceInfo => ({
  name,
  memoryFree,
  memoryTotal: memoryFree,
  description: 'a test',
  features: [],
});

afterEach(() => {
  vi.restoreAllMocks();
});

it('a model that does not fit is refused before a weight is read', async () => {
  vi.spyOn(loadAddon(), 'devices').mockReturnValue([device('cpu', 1e6)]);
  const loading = AutoModelForCausalLM.from_pretrained(KOMT_TINY, { dtype: 'float32' });
  await expect(loading).rejects.toThrow(
    /does not fit on cpu: expected 9\.2 MB free for the weights in float32.*dtype: 'float16'/,
  );
  await expect(loading).rejects.toBeInstanceOf(OutOfMemoryError);
  await expect(loading).rejects.toMatchObject({ bytesNeeded: 9_184_256, bytesFree: 1e6 });
});

it('counts each device’s own layers, the embedding with the first and the output with the last', async () => {
  const config = await PretrainedConfig.from_folder(KOMT_TINY);
  const { layers, first, last } = layerMemory(config, 'float16');
  const layer = layers[0] as number;
  const placement = [
    { device: 'a', layers: 1 },
    { device: 'b', layers: 3 },
  ];
  const check = (a: number, b: number) =>
    requireMemory(config, 'float16', placement, [device('a', a), device('b', b)]);
  check(first + layer, 3 * layer + last);
  expect(() => check(first + layer - 1, 3 * layer + last)).toThrow(/does not fit on a/);
  expect(() => check(first + layer, 3 * layer + last - 1)).toThrow(/does not fit on b/);
});
