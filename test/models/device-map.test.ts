import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PretrainedConfig } from '../../lib/models/config.js';
import { moduleMap, planLayers, resolveDeviceMap } from '../../lib/models/device-map.js';
import { GOLDENS } from '../engine/helpers.js';

let config: PretrainedConfig;
beforeAll(async () => {
  config = await PretrainedConfig.from_folder(path.join(GOLDENS, 'models/llama-mha-fp16'));
});
const handlers: (() => void)[] = [];
afterAll(() => {
  for (const undo of handlers) undo();
});

describe('planLayers', () => {
  const memory = { layers: [10, 10, 10, 10], first: 5, last: 5, tied: 0 };
  it('puts everything on one device where it fits', () => {
    expect(planLayers([{ device: 'a', bytes: 50 }], memory, 'cpu')).toEqual([
      { device: 'a', layers: 4 },
    ]);
  });
  it('goes on with the next device, embedding first and output last', () => {
    const budgets = [
      { device: 'a', bytes: 25 },
      { device: 'b', bytes: 25 },
    ];
    expect(planLayers(budgets, memory, 'cpu')).toEqual([
      { device: 'a', layers: 2 },
      { device: 'b', layers: 2 },
    ]);
  });
  it('counts tied embeddings on both ends of a split model, and once on a whole one', () => {
    const tied = { layers: [10, 10, 10, 10], first: 5, last: 1, tied: 5 };
    expect(planLayers([{ device: 'a', bytes: 46 }], tied, 'cpu')).toEqual([
      { device: 'a', layers: 4 },
    ]);
    const budgets = (last: number) => [
      { device: 'a', bytes: 25 },
      { device: 'b', bytes: last },
    ];
    expect(planLayers(budgets(26), tied, 'cpu').map((run) => run.device)).toEqual(['a', 'b']);
    expect(planLayers(budgets(25), tied, 'cpu').map((run) => run.device)).toEqual([
      'a',
      'b',
      'cpu',
    ]);
  });
  it('leaves to the CPU what fits nowhere, and skips a device too small for a layer', () => {
    const budgets = [
      { device: 'a', bytes: 12 },
      { device: 'b', bytes: 36 },
    ];
    expect(planLayers(budgets, memory, 'cpu')).toEqual([
      { device: 'b', layers: 3 },
      { device: 'cpu', layers: 1 },
    ]);
  });
});

describe('moduleMap', () => {
  it('names every module of a split model, and the one device of a whole one', () => {
    expect(moduleMap([{ device: 'cpu', layers: 3 }])).toEqual({ '': 'cpu' });
    const map = moduleMap([
      { device: 'cuda:0', layers: 2 },
      { device: 'cpu', layers: 1 },
    ]);
    expect(map).toEqual({
      'model.embed_tokens': 'cuda:0',
      'model.layers.0': 'cuda:0',
      'model.layers.1': 'cuda:0',
      'model.layers.2': 'cpu',
      'model.norm': 'cpu',
      lm_head: 'cpu',
    });
  });
});

describe('resolveDeviceMap', () => {
  const resolve = (device_map: never | Record<string, string> | string, max_memory = {}) =>
    resolveDeviceMap({ device_map, max_memory, config, dtype: 'float16' });
  it('takes maps of modules and their prefixes', () => {
    expect(resolve({ '': 'cpu' })).toEqual([{ device: 'cpu', layers: 3 }]);
    expect(resolve({ 'model.layers': 'cpu', lm_head: 'cpu' })).toEqual([
      { device: 'cpu', layers: 3 },
    ]);
  });
  it('refuses maps with holes, and modules torn from their neighbours', () => {
    expect(() => resolve({ 'model.layers.0': 'cpu' })).toThrow(
      /names no device for model.layers.1/,
    );
    expect(() => resolve({ '': 'cpu', lm_head: 'cuda:0' })).toThrow(/puts lm_head on cuda:0/);
  });
  it('names the devices there are when one is not', () => {
    expect(() => resolve('cuda:7')).toThrow(/There is no device cuda:7: expected one of cpu/);
    expect(() => resolve('tpu')).toThrow(/There is no device tpu/);
  });
  it('reads memory limits as bytes or text', () => {
    expect(resolve('auto', { cpu: '10GiB' })).toHaveLength(1);
    expect(() => resolve('auto', { 0: 'much' })).toThrow(/Expected bytes, or text such as '10GiB'/);
    for (const memory of [5, [1], new Float32Array(2)]) {
      expect(() => resolve('auto', memory as never)).toThrow(/Expected a map from devices/);
    }
  });
});
