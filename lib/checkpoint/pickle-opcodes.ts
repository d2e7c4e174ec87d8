/** Opcodes that torch.save writes, from https://github.com/python/cpython/blob/main/Lib/pickle.py. */
export const Op = {
  Mark: 0x28, // (
  EmptyTuple: 0x29, // )
  Stop: 0x2e, // .
  BinFloat: 0x47, // G
  BinInt: 0x4a, // J
  BinInt1: 0x4b, // K
  BinInt2: 0x4d, // M
  None: 0x4e, // N
  BinPersId: 0x51, // Q
  Reduce: 0x52, // R
  BinUnicode: 0x58, // X
  EmptyList: 0x5d, // ]
  Append: 0x61, // a
  Build: 0x62, // b
  Global: 0x63, // c
  Appends: 0x65, // e
  BinGet: 0x68, // h
  LongBinGet: 0x6a, // j
  BinPut: 0x71, // q
  LongBinPut: 0x72, // r
  SetItem: 0x73, // s
  Tuple: 0x74, // t
  SetItems: 0x75, // u
  EmptyDict: 0x7d, // }
  Proto: 0x80,
  Tuple1: 0x85,
  Tuple2: 0x86,
  Tuple3: 0x87,
  NewTrue: 0x88,
  NewFalse: 0x89,
  Long1: 0x8a,
  ShortBinUnicode: 0x8c,
  StackGlobal: 0x93,
  Memoize: 0x94,
  Frame: 0x95,
} as const;
