import { DeviceError, DisposedError, invalidArgument } from '../errors.js';
import { guard } from '../native/errors.js';
import type { DeviceProperties, NativeDevice, NativeKernels } from '../native/kernels.js';
import { loadAddon } from '../native/load.js';

/** Of a measurement, which the caller waits for. The same limit stands in native/addon/kernels. */
const MAX_REPEATS = 1_000_000;

export interface MeasureOptions {
  /** Launches recorded one behind the other into the graph that is timed. Default 20. */
  launches?: number;
  /** Runs of the graph that the median is taken of. Default 11. */
  repeats?: number;
}

/**
 * A GPU with a stream of its own. Kernels run behind the caller, in the order of the calls; reading a
 * tensor, {@link synchronize} and {@link measure} wait for them, and throw what went wrong meanwhile.
 *
 * Tensors belong to the object they were made on: two objects of one GPU are two streams, and their
 * tensors do not mix.
 */
export class Device {
  /** As in `device_map`: 'cuda:0', 'cuda-emulated:0'. */
  readonly name: string;
  readonly properties: Readonly<DeviceProperties>;
  readonly #kernels: NativeKernels;
  #native: NativeDevice | null;

  /** @internal Use {@link device}. */
  constructor(name: string, index: number, kernels: NativeKernels) {
    this.name = name;
    this.#kernels = kernels;
    this.#native = guard(() => new kernels.Device(index));
    this.properties = guard(() => this.handle.properties());
  }

  /** @internal */
  get handle(): NativeDevice {
    if (!this.#native) throw new DisposedError(`The device object of ${this.name} was disposed`);
    return this.#native;
  }

  /** @internal */
  get kernels(): NativeKernels {
    return this.#kernels;
  }

  get disposed(): boolean {
    return this.#native === null;
  }

  /**
   * Waits until everything enqueued so far has run.
   * @throws {DeviceError} if a kernel failed; an error that has cost the GPU its context stays
   */
  synchronize(): void {
    guard(() => this.handle.synchronize());
  }

  /**
   * Median time of one launch in microseconds: launches are recorded into a graph, which is replayed
   * between two events, so that the time the host takes to enqueue is not part of it.
   * @param enqueue launches once; called with 0 first to warm up, then with 0 to launches - 1 while
   *   recording. It may not read tensors or make new ones; pass `output` to the kernels.
   */
  measure(enqueue: (i: number) => void, options: MeasureOptions = {}): number {
    if (typeof enqueue !== 'function') throw invalidArgument('enqueue', 'a function', enqueue);
    const { launches = 20, repeats = 11 } = options;
    for (const [name, value] of Object.entries({ launches, repeats })) {
      if (!Number.isInteger(value) || value < 1 || value > MAX_REPEATS) {
        throw invalidArgument(name, `an integer from 1 to ${MAX_REPEATS}`, value);
      }
    }
    enqueue(0);
    this.synchronize();
    const record = () => {
      for (let i = 0; i < launches; i++) enqueue(i);
    };
    const times = guard(() => this.handle.measure(record, repeats)).sort();
    return (times[Math.floor(repeats / 2)] as number) / launches;
  }

  /** Waits for the stream and frees all tensors of this object. */
  dispose(): void {
    const native = this.#native;
    if (native) guard(() => native.dispose());
    this.#native = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The addon that serves a device name, and the device's number in it. */
function parse(name: unknown): { addon: 'komt' | 'komt_emulated'; name: string; index: number } {
  const match = typeof name === 'string' ? /^(cuda|cuda-emulated)(?::(\d+))?$/.exec(name) : null;
  if (!match) throw invalidArgument('device', "'cuda', 'cuda:N' or 'cuda-emulated[:N]'", name);
  const index = Number(match[2] ?? 0);
  return {
    addon: match[1] === 'cuda' ? 'komt' : 'komt_emulated',
    name: `${match[1]}:${index}`,
    index,
  };
}

/**
 * Opens a GPU for kernel calls.
 * @param name 'cuda' (the first), 'cuda:N', or in a clone of the repository 'cuda-emulated[:N]'
 * @throws {DeviceError} when this build has no CUDA, or there is no such GPU
 */
export function device(name = 'cuda'): Device {
  const wanted = parse(name);
  const addon = loadAddon(wanted.addon);
  if (!addon.kernels) {
    throw new DeviceError(`There is no device ${wanted.name}: this addon was built without CUDA`, {
      remedy: 'Install the CUDA toolkit (12.2 or newer) and run npx komt build --cuda on.',
    });
  }
  return new Device(wanted.name, wanted.index, addon.kernels);
}
