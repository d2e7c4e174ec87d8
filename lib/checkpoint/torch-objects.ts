import { CheckpointError } from '../errors.js';
import { CONVERT_REMEDY } from './pickle.js';
import {
  describeValue,
  PickleDict,
  PickleGlobal,
  PickleObject,
  PickleTuple,
  type PickleValue,
} from './pickle-values.js';
import { isSize } from './shape.js';
import { LIMITS, type StoredDtype } from './types.js';

/** A storage of the archive: entry `data/<key>`. */
export class TorchStorage extends PickleObject {
  readonly kind = 'torch storage';
  constructor(
    readonly dtype: StoredDtype,
    readonly key: string,
    /** Length in elements. */
    readonly elements: number,
  ) {
    super();
  }
}

/** A view of a storage. Offset and strides count elements. */
export class TorchTensor extends PickleObject {
  readonly kind = 'torch.Tensor';
  constructor(
    readonly storage: TorchStorage,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {
    super();
  }
}

const STORAGE_DTYPES: ReadonlyMap<string, StoredDtype> = new Map([
  ['torch.DoubleStorage', 'float64'],
  ['torch.FloatStorage', 'float32'],
  ['torch.HalfStorage', 'float16'],
  ['torch.BFloat16Storage', 'bfloat16'],
  ['torch.LongStorage', 'int64'],
  ['torch.IntStorage', 'int32'],
  ['torch.ShortStorage', 'int16'],
  ['torch.CharStorage', 'int8'],
  ['torch.ByteStorage', 'uint8'],
  ['torch.BoolStorage', 'bool'],
  ['torch.ComplexFloatStorage', 'complex64'],
  ['torch.ComplexDoubleStorage', 'complex128'],
]);

function malformed(what: string, file: string, args: readonly PickleValue[]): never {
  throw new CheckpointError(`The pickle has a malformed ${what}`, {
    file,
    subject: what,
    found: `(${args.slice(0, 10).map(describeValue).join(', ')}${args.length > 10 ? ', ...' : ''})`,
    remedy: CONVERT_REMEDY,
  });
}

function sizes(value: PickleValue | undefined): number[] | undefined {
  if (!(value instanceof PickleTuple) || value.items.length > LIMITS.rank) return undefined;
  return value.items.every(isSize) ? (value.items as number[]) : undefined;
}

/** `_rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad, backward_hooks, metadata?)`. */
function rebuildTensor(args: readonly PickleValue[], file: string): TorchTensor {
  const [storage, offset, size, stride, requiresGrad, hooks, metadata = null] = args;
  const shape = sizes(size);
  const strides = sizes(stride);
  // Hooks are never there in a file. Metadata holds the conjugate and negative bits, which would have to
  // be applied to the values; weights have neither.
  if (
    args.length < 6 ||
    args.length > 7 ||
    !(storage instanceof TorchStorage) ||
    !isSize(offset) ||
    shape === undefined ||
    strides?.length !== shape.length ||
    typeof requiresGrad !== 'boolean' ||
    !(hooks instanceof PickleDict && hooks.entries.size === 0) ||
    !(metadata === null || (metadata instanceof PickleDict && metadata.entries.size === 0))
  ) {
    return malformed('tensor', file, args);
  }
  return new TorchTensor(storage, offset, shape, strides);
}

/** `_rebuild_parameter(data, requires_grad, backward_hooks)`: the tensor itself. */
function rebuildParameter(args: readonly PickleValue[], file: string): TorchTensor {
  const [data, requiresGrad] = args;
  if (args.length !== 3 || !(data instanceof TorchTensor) || typeof requiresGrad !== 'boolean') {
    return malformed('parameter', file, args);
  }
  return data;
}

/** Everything a state dict may name. There is nothing here that could run code or reach the system. */
export function torchGlobals(file: string): ReadonlyMap<string, PickleGlobal> {
  const calls: [string, (args: readonly PickleValue[]) => PickleValue][] = [
    ['torch._utils._rebuild_tensor_v2', (args) => rebuildTensor(args, file)],
    ['torch._utils._rebuild_parameter', (args) => rebuildParameter(args, file)],
    [
      'collections.OrderedDict',
      (args) => (args.length === 0 ? new PickleDict() : malformed('OrderedDict', file, args)),
    ],
    [
      'torch.Size',
      ([size, ...more]) =>
        size !== undefined && sizes(size) && more.length === 0
          ? size
          : malformed('torch.Size', file, more),
    ],
  ];
  return new Map([
    ...calls.map(([name, call]) => [name, new PickleGlobal(name, call)] as const),
    ...Array.from(STORAGE_DTYPES.keys(), (name) => [name, new PickleGlobal(name)] as const),
  ]);
}

/** The storage behind a persistent id `('storage', type, key, location, elements)`. */
export function torchStorage(id: PickleValue, file: string): TorchStorage {
  const items = id instanceof PickleTuple ? id.items : [id];
  const [tag, type, key, location, elements] = items;
  const dtype = type instanceof PickleGlobal ? STORAGE_DTYPES.get(type.qualifiedName) : undefined;
  if (
    items.length !== 5 ||
    tag !== 'storage' ||
    dtype === undefined ||
    typeof key !== 'string' ||
    !/^\d{1,20}$/.test(key) ||
    typeof location !== 'string' ||
    !isSize(elements)
  ) {
    return malformed('storage', file, items);
  }
  return new TorchStorage(dtype, key, elements);
}
