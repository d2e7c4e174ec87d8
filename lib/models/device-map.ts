import { isObject } from '../bounded-json.js';
import { DeviceError, InvalidArgumentError, invalidArgument } from '../errors.js';
import { formatBytes } from '../format-bytes.js';
import type { ComputeDType, DeviceInfo, NativePlacement } from '../native/addon.js';
import { loadAddon } from '../native/load.js';
import { warnOnce } from '../warnings.js';
import type { PretrainedConfig } from './config.js';
import { type LayerMemory, layerMemory } from './memory.js';

/**
 * Where a model's layers go:
 * - 'auto': the first GPU that holds everything; else over all GPUs as 'sequential'; without one, the CPU
 * - 'sequential': fills one GPU after the other, the CPU last
 * - 'balanced': about the same share on every GPU, the CPU for what does not fit
 * - 'cpu', 'cuda', 'cuda:1' (or 1): that device
 * - a map from module names ('model.embed_tokens', 'model.layers.0', 'model.norm', 'lm_head', prefixes
 *   of these, '' for everything) to devices; layers of one device must follow each other
 */
export type DeviceMap = string | number | Readonly<Record<string, string | number>>;

/** Most memory to use per device, in bytes or as '10GiB' or '500MB'; keys are 'cpu', 'cuda:0' or 0. */
export type MaxMemory = Readonly<Record<string, number | string>>;

/** What {@link resolveDeviceMap} needs to know of the model. */
export interface PlacementRequest {
  device_map?: DeviceMap;
  max_memory?: MaxMemory;
  config: PretrainedConfig;
  /** Type of the matrices on a GPU. */
  dtype: ComputeDType;
}

/** Left free on each GPU for the cache and activations, as a part of what is free now. */
const RESERVED = 0.15;

const UNITS: Record<string, number> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** Characters of a size in words, such as "10.5 GiB". */
const MAX_SIZE_TEXT = 64;

function bytesOf(value: unknown, key: string): number {
  let bytes = typeof value === 'number' ? value : Number.NaN;
  if (typeof value === 'string' && value.length <= MAX_SIZE_TEXT) {
    const [, count, unit = ''] = /^\s*([\d.]+)\s*([a-z]*)\s*$/i.exec(value) ?? [];
    bytes = Number(count) * (UNITS[unit.toUpperCase()] ?? Number.NaN);
  }
  if (!Number.isFinite(bytes) || bytes < 0) {
    throw invalidArgument(`max_memory["${key}"]`, "bytes, or text such as '10GiB'", value);
  }
  return bytes;
}

function normalise(device: string | number): string {
  if (typeof device !== 'string' && !Number.isInteger(device)) {
    throw invalidArgument('device_map', "a device such as 'cpu', 'cuda:0' or 0", device);
  }
  if (typeof device === 'number' || /^\d+$/.test(device)) return `cuda:${device}`;
  if (device === 'gpu') return 'cuda:0';
  if (device === 'cuda' || device === 'cuda-emulated') return `${device}:0`;
  return device;
}

/** Devices of the addon that a device's name belongs to. */
export function devicesFor(device: string): DeviceInfo[] {
  return loadAddon(device.startsWith('cuda-emulated') ? 'komt_emulated' : 'komt').devices();
}

function requireDevice(device: string): string {
  const name = normalise(device);
  const known = devicesFor(name);
  if (known.some((d) => d.name === name)) return name;
  const built = loadAddon().buildInfo().backends;
  throw new DeviceError(`There is no device ${name}`, {
    subject: 'device_map',
    expected: `one of ${known.map((d) => d.name).join(', ')}`,
    remedy:
      name.startsWith('cuda:') && !built.includes('cuda')
        ? 'This addon was built without CUDA (npx komt inspect says why): install the CUDA toolkit (12.2 or newer) and run npx komt build --cuda on, or use device_map: "cpu".'
        : '`komt inspect` lists the devices and what was built.',
  });
}

/** Longest prefix of `module` that the map names, module by module. */
function lookUp(
  map: Readonly<Record<string, string | number>>,
  module: string,
): string | undefined {
  const parts = module.split('.');
  for (let n = parts.length; n >= 0; n--) {
    const prefix = parts.slice(0, n).join('.');
    const device = Object.hasOwn(map, prefix) ? map[prefix] : undefined;
    if (device === undefined) continue;
    if (typeof device !== 'string' && typeof device !== 'number') {
      throw invalidArgument(`device_map["${prefix}"]`, 'the name or number of a device', device);
    }
    return normalise(device);
  }
  return undefined;
}

/** A map written by hand. */
function fromMap(
  map: Readonly<Record<string, string | number>>,
  layers: number,
): NativePlacement[] {
  const placement: NativePlacement[] = [];
  for (let layer = 0; layer < layers; layer++) {
    const module = `model.layers.${layer}`;
    const device = lookUp(map, module);
    if (device === undefined) {
      throw new InvalidArgumentError(`device_map names no device for ${module}`, {
        subject: 'device_map',
        remedy: 'Add the module, a prefix of it, or "" for everything.',
      });
    }
    const last = placement.at(-1);
    if (last?.device === device) last.layers++;
    else placement.push({ device: requireDevice(device), layers: 1 });
  }
  for (const [module, run] of [
    ['model.embed_tokens', placement[0]],
    ['model.norm', placement.at(-1)],
    ['lm_head', placement.at(-1)],
  ] as const) {
    const device = lookUp(map, module);
    if (device !== undefined && device !== run?.device) {
      throw new InvalidArgumentError(
        `device_map puts ${module} on ${device}, but its neighbouring layer on ${run?.device}`,
        {
          subject: 'device_map',
          remedy: 'The embedding goes with the first layer, norm and lm_head with the last.',
        },
      );
    }
  }
  const devices = placement.map((p) => p.device);
  if (new Set(devices).size !== devices.length) {
    throw new InvalidArgumentError('device_map goes back to a device it has left', {
      subject: 'device_map',
      found: devices,
      remedy: 'Layers of one device must follow each other.',
    });
  }
  return placement;
}

/** A device and the bytes a plan may put there. */
export interface Budget {
  device: string;
  bytes: number;
}

/**
 * Lays layers over budgets in order. The first run also holds the embedding, the last the output
 * layer; what fits nowhere goes to `overflow`.
 */
export function planLayers(
  budgets: readonly Budget[],
  memory: LayerMemory,
  overflow: string,
): NativePlacement[] {
  const total = memory.layers.length;
  const placement: NativePlacement[] = [];
  let layer = 0;
  for (const { device, bytes } of budgets) {
    let room = bytes - (layer === 0 ? memory.first : 0);
    const end = memory.last + (layer === 0 ? 0 : memory.tied);
    let taken = 0;
    while (layer + taken < total) {
      const size = memory.layers[layer + taken] as number;
      const isLast = layer + taken === total - 1;
      if (size + (isLast ? end : 0) > room) break;
      room -= size;
      taken++;
    }
    if (taken > 0) placement.push({ device, layers: taken });
    layer += taken;
    if (layer === total) return placement;
  }
  placement.push({ device: overflow, layers: total - layer });
  return placement;
}

function automatic(
  strategy: 'auto' | 'balanced' | 'sequential',
  request: PlacementRequest,
): NativePlacement[] {
  const { config, dtype } = request;
  const max_memory = request.max_memory ?? {};
  const limits = new Map(
    Object.entries(max_memory).map(([key, value]) => [normalise(key), bytesOf(value, key)]),
  );
  const memory = layerMemory(config, dtype);
  const needed = memory.first + memory.last + memory.layers.reduce((a, b) => a + b, 0);
  const gpus: Budget[] = loadAddon()
    .devices()
    .filter((d) => d.name.startsWith('cuda'))
    .map((d) => ({
      device: d.name,
      bytes: Math.min(
        d.memoryFree * (1 - RESERVED),
        limits.get(d.name) ?? Number.POSITIVE_INFINITY,
      ),
    }));
  const layers = config.num_hidden_layers;
  if (gpus.length === 0) return [{ device: 'cpu', layers }];
  const whole = gpus.find((gpu) => gpu.bytes >= needed);
  if (strategy === 'auto' && whole) return [{ device: whole.device, layers }];

  let budgets = gpus;
  if (strategy === 'balanced') {
    // The least equal share that holds the model, found by bisection: layers are not divisible.
    const fits = (share: number) =>
      planLayers(
        gpus.map((gpu) => ({ ...gpu, bytes: Math.min(gpu.bytes, share) })),
        memory,
        'cpu',
      ).every((run) => run.device !== 'cpu');
    let low = needed / gpus.length;
    let high = needed + memory.tied;
    if (fits(high)) {
      for (let i = 0; i < 50; i++) {
        const middle = (low + high) / 2;
        if (fits(middle)) high = middle;
        else low = middle;
      }
      budgets = gpus.map((gpu) => ({ ...gpu, bytes: Math.min(gpu.bytes, high) }));
    }
  }
  const placement = planLayers(budgets, memory, 'cpu');
  const rest = placement.find((run) => run.device === 'cpu');
  if (rest) {
    const first = layers - rest.layers;
    const end = memory.last + (first > 0 ? memory.tied : 0);
    const bytes = memory.layers.slice(first).reduce((a, b) => a + b, end);
    warnOnce(
      `The model needs ${formatBytes(needed)}, more than the GPUs have free: layers ${first} to ${layers - 1} ` +
        `(${formatBytes(bytes)}) run on the CPU, which reads them from host memory for every token. ` +
        'A smaller dtype, a larger max_memory or another device_map avoids that.',
    );
  }
  return placement;
}

/**
 * Resolves a device_map to runs of layers.
 * @throws {DeviceError} for a device that is not there, {InvalidArgumentError} for a map with holes
 */
export function resolveDeviceMap(request: PlacementRequest): NativePlacement[] {
  const map = request.device_map ?? 'auto';
  const { max_memory } = request;
  if (max_memory != null && !isObject(max_memory)) {
    throw invalidArgument('max_memory', 'a map from devices to sizes', max_memory);
  }
  const layers = request.config.num_hidden_layers;
  if (map === 'auto' || map === 'balanced' || map === 'sequential') return automatic(map, request);
  if (typeof map === 'string' || typeof map === 'number') {
    return [{ device: requireDevice(normalise(map)), layers }];
  }
  if (!isObject(map)) {
    throw invalidArgument('device_map', 'a string, a number or a map', map);
  }
  return fromMap(map, layers);
}

/** Placement by module, the inverse of a map written by hand. */
export function moduleMap(placement: readonly NativePlacement[]): Record<string, string> {
  const [first] = placement;
  const last = placement.at(-1);
  if (!first || !last || placement.length === 1) return { '': first?.device ?? 'cpu' };
  const map: Record<string, string> = { 'model.embed_tokens': first.device };
  let layer = 0;
  for (const { device, layers } of placement) {
    for (const end = layer + layers; layer < end; layer++) map[`model.layers.${layer}`] = device;
  }
  map['model.norm'] = last.device;
  map.lm_head = last.device;
  return map;
}
