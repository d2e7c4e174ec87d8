import { invalidArgument } from '../errors.js';
import { guard } from '../native/errors.js';
import { requireInteger, requireOptions, requireTensor } from './checks.js';
import type { Device } from './device.js';
import { DeviceTensor } from './device-tensor.js';

/** Tokens in one page. */
export const PAGE_TOKENS = 64;

export interface KvCacheOptions {
  /** Number of pages. */
  pages: number;
  num_key_value_heads: number;
  /** A multiple of 8, at most 256. */
  head_dim: number;
  /** Default 'float16'. */
  dtype?: 'float16' | 'bfloat16';
}

/**
 * One layer's paged key/value cache: `keys` and `values` are [pages, num_key_value_heads, 64, head_dim].
 * A sequence is a list of pages, its row of a block table; token t lies in page `row[t / 64]` at `t % 64`.
 * `rope` and the 'rope_append' epilogue of `gemm` append to it, `attention` reads it.
 */
export class KvCache {
  readonly device: Device;
  readonly dtype: 'float16' | 'bfloat16';
  readonly pages: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly keys: DeviceTensor;
  readonly values: DeviceTensor;

  /**
   * Uninitialised pages.
   * @throws {OutOfMemoryError} with the bytes needed and free
   */
  constructor(device: Device, options: KvCacheOptions) {
    requireOptions(options);
    this.device = device;
    this.dtype = options.dtype ?? 'float16';
    this.pages = requireInteger('pages', options.pages, 1);
    this.num_key_value_heads = requireInteger(
      'num_key_value_heads',
      options.num_key_value_heads,
      1,
      1024,
    );
    this.head_dim = requireInteger('head_dim', options.head_dim, 8, 256);
    if (this.head_dim % 8 !== 0) {
      throw invalidArgument('head_dim', 'a multiple of 8', this.head_dim);
    }
    const dims = [this.pages, this.num_key_value_heads, PAGE_TOKENS, this.head_dim];
    this.keys = new DeviceTensor(device, this.dtype, dims);
    this.values = new DeviceTensor(device, this.dtype, dims);
  }

  get disposed(): boolean {
    return this.keys.disposed;
  }

  /**
   * Copies page `sources[i]` onto page `targets[i]` for every i, in no order: targets are distinct and
   * none is another copy's source. What forked sequences need before they write (copy on write).
   * @param sources int32 [n]; numbers of pages are not checked on the device
   * @param targets int32 [n]
   */
  copyPages(sources: DeviceTensor, targets: DeviceTensor): void {
    requireTensor('sources', sources, ['int32'], ['n'], this.device);
    requireTensor('targets', targets, ['int32'], [sources.size], this.device);
    this.#copy(this, sources, this, targets, sources.size);
  }

  /**
   * The pages of a list, in its order, as a cache of their own. With {@link scatter}, the way to permute
   * pages in place.
   * @param pages int32 [n], n >= 1
   */
  gather(pages: DeviceTensor): KvCache {
    requireTensor('pages', pages, ['int32'], ['n'], this.device);
    const gathered = new KvCache(this.device, { ...this.#options(), pages: pages.size });
    this.#copy(this, pages, gathered, undefined, pages.size);
    return gathered;
  }

  /**
   * Page i of `source` becomes page `pages[i]` of this cache.
   * @param pages int32 [source.pages]
   */
  scatter(source: KvCache, pages: DeviceTensor): void {
    const dims = [source.pages, this.num_key_value_heads, PAGE_TOKENS, this.head_dim];
    requireTensor('source.keys', source.keys, [this.dtype], dims, this.device);
    requireTensor('pages', pages, ['int32'], [source.pages], this.device);
    this.#copy(source, undefined, this, pages, source.pages);
  }

  dispose(): void {
    this.keys.dispose();
    this.values.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #options() {
    const { num_key_value_heads, head_dim, dtype } = this;
    return { num_key_value_heads, head_dim, dtype };
  }

  #copy(
    source: KvCache,
    sourcePages: DeviceTensor | undefined,
    target: KvCache,
    targetPages: DeviceTensor | undefined,
    count: number,
  ): void {
    guard(() =>
      this.device.kernels.copyPages(this.device.handle, {
        sourceKeys: source.keys.handle,
        sourceValues: source.values.handle,
        targetKeys: target.keys.handle,
        targetValues: target.values.handle,
        sourcePages: sourcePages?.handle,
        targetPages: targetPages?.handle,
        count,
        pageBytes: this.num_key_value_heads * PAGE_TOKENS * this.head_dim * 2,
      }),
    );
  }
}
