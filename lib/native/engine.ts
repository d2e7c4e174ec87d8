import { DisposedError, throwIfAborted } from '../errors.js';
import type {
  NativeEngine,
  NativeModelConfig,
  NativePlacement,
  NativeWeightSource,
} from './addon.js';
import { guard, toKomtError } from './errors.js';
import { loadAddon } from './load.js';
import { NativeSession } from './session.js';

export interface LoadRequest {
  config: NativeModelConfig;
  sources: NativeWeightSource[];
  placement: NativePlacement[];
  /** CPU threads per model; 0 = one per core this process may use. */
  threads: number;
  /** Called with bytes read so far, bytes in all, and the tensor just finished. */
  onProgress?: (loaded: number, total: number, name: string) => void;
  signal?: AbortSignal;
}

/** Threads that read the checkpoint: enough to keep a disk busy, few enough to bound staging memory. */
const READER_THREADS = 4;

/** A loaded model on its own native thread. The garbage collector stops it; `dispose` does so now. */
export class Engine {
  #native: NativeEngine | null;
  #released: Promise<void> | null = null;
  readonly config: NativeModelConfig;

  private constructor(native: NativeEngine, config: NativeModelConfig) {
    this.#native = native;
    this.config = config;
  }

  /** Reads a checkpoint's tensors to the devices. On failure or abort nothing stays allocated. */
  static async load(request: LoadRequest): Promise<Engine> {
    const { config, sources, placement, threads, onProgress, signal } = request;
    throwIfAborted(signal);
    const emulated = placement.some((p) => p.device.startsWith('cuda-emulated'));
    const addon = loadAddon(emulated ? 'komt_emulated' : 'komt');
    const native = guard(() => new addon.Engine());
    const abort = () => native.cancelLoad();
    // A throw in the user's code ends the load; what it threw is what the caller gets.
    let failure: { error: unknown } | null = null;
    const report = (loaded: number, total: number, name: string) => {
      if (failure) return;
      try {
        onProgress?.(loaded, total, name);
      } catch (error) {
        failure = { error };
        abort();
      }
    };
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await new Promise<void>((resolve, reject) => {
        guard(() =>
          native.load(
            config,
            sources,
            placement,
            { threads, readerThreads: READER_THREADS },
            report,
            (error) => {
              if (failure) reject(failure.error);
              else if (error) reject(toKomtError(error, signal));
              else resolve();
            },
          ),
        );
      });
    } catch (error) {
      await new Promise<void>((resolve) => native.dispose(() => resolve()));
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
    return new Engine(native, config);
  }

  /** @throws {DisposedError} after {@link dispose} */
  openSession(): NativeSession {
    const native = this.#native;
    if (!native) throw new DisposedError('The model was disposed');
    return new NativeSession(native, this.config);
  }

  get disposed(): boolean {
    return this.#native === null;
  }

  /**
   * Ends running calls with DisposedError and resolves when all memory is given back; so does every
   * later call.
   */
  dispose(): Promise<void> {
    const native = this.#native;
    this.#native = null;
    if (native) this.#released = new Promise((resolve) => native.dispose(() => resolve()));
    return this.#released as Promise<void>;
  }
}
