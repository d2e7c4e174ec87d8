import { DeviceError, InvalidArgumentError, invalidArgument } from '../errors.js';
import type { DeviceInfo, NativePlacement } from '../native/addon.js';
import { loadAddon } from '../native/load.js';

/**
 * Where a model's layers go: 'auto' (the first GPU, else the CPU), 'cpu', 'cuda', 'cuda:1', or a map from
 * module names ('model.embed_tokens', 'model.layers.0', 'model.norm', 'lm_head', prefixes of these,
 * '' for everything) to devices. Layers of one device must follow each other.
 */
export type DeviceMap = string | number | Readonly<Record<string, string | number>>;

function normalise(device: string | number): string {
  if (typeof device === 'number') return `cuda:${device}`;
  if (device === 'gpu') return 'cuda:0';
  if (device === 'cuda' || device === 'cuda-emulated') return `${device}:0`;
  return device;
}

/** Devices of the addon that a device's name belongs to. */
function devicesFor(device: string): DeviceInfo[] {
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
        ? 'This addon was built without CUDA: install the CUDA toolkit (12.2 or newer) and run npm rebuild komt, or use device_map: "cpu".'
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
    const device = map[parts.slice(0, n).join('.')];
    if (device !== undefined) return normalise(device);
  }
  return undefined;
}

/**
 * Resolves a device_map to runs of layers.
 * @throws {DeviceError} for a device that is not there, {InvalidArgumentError} for a map with holes
 */
export function resolveDeviceMap(map: DeviceMap | undefined, layers: number): NativePlacement[] {
  if (map === undefined || map === 'auto') {
    const gpu = loadAddon()
      .devices()
      .find((d) => d.name.startsWith('cuda'));
    return [{ device: gpu?.name ?? 'cpu', layers }];
  }
  if (typeof map === 'string' || typeof map === 'number') {
    return [{ device: requireDevice(normalise(map)), layers }];
  }
  if (typeof map !== 'object' || map === null)
    throw invalidArgument('device_map', 'a string or a map', map);

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
