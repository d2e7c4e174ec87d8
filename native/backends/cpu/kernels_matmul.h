#pragma once
// Matrix products, written once over the vector vocabulary.
//
// Every y[t, r] is the same sum whatever tile computes it: per block of kDotBlock elements one
// vector accumulator runs along k, its lanes are summed as a tree, and the blocks are added in
// order. One token alone and a thousand together therefore give the same bits; tiles only share
// loads. Elements of w become float32 when loaded, which is exact.

namespace komt::cpu::KOMT_ISA {

/// The sum of the lanes of each of N vectors.
template <int N>
KOMT_INLINE void sum_vectors(const Vec* v, float* sums) {
  int i = 0;
  KOMT_UNROLL
  for (; i + 4 <= N; i += 4) sum_lanes4(v + i, sums + i);
  KOMT_UNROLL
  for (; i < N; ++i) sums[i] = sum_lanes(v[i]);
}

/// A tile of T tokens and R rows over one block of k; adds to y, or sets it for the first block. The
/// rows' sums lie y_step apart.
template <int T, int R, class W>
KOMT_INLINE void tile(const float* x, int64_t x_stride, const W* w, int64_t w_stride, int64_t k,
                      float* y, int64_t y_stride, int64_t y_step, bool first) {
  Vec sums[T][R];
  KOMT_UNROLL
  for (int t = 0; t < T; ++t) {
    KOMT_UNROLL
    for (int r = 0; r < R; ++r) sums[t][r] = zero();
  }
  for (int64_t i = 0; i < k; i += kLanes) {
    Vec weights[R];
    KOMT_UNROLL
    for (int r = 0; r < R; ++r) weights[r] = load(w + r * w_stride + i);
    KOMT_UNROLL
    for (int t = 0; t < T; ++t) {
      const Vec input = load(x + t * x_stride + i);
      KOMT_UNROLL
      for (int r = 0; r < R; ++r) sums[t][r] = fma(input, weights[r], sums[t][r]);
    }
  }
  KOMT_UNROLL
  for (int t = 0; t < T; ++t) {
    float totals[R];
    sum_vectors<R>(sums[t], totals);
    float* out = y + t * y_stride;
    KOMT_UNROLL
    for (int r = 0; r < R; ++r)
      out[r * y_step] = first ? totals[r] : out[r * y_step] + totals[r];
  }
}

/// All rows for T tokens and one block of k.
template <int T, int R, class W>
KOMT_INLINE void tile_rows(const float* x, int64_t x_stride, const W* w, int64_t w_stride,
                           int64_t rows, int64_t k, float* y, int64_t y_stride, bool first) {
  int64_t r = 0;
  for (; r + R <= rows; r += R)
    tile<T, R>(x, x_stride, w + r * w_stride, w_stride, k, y + r, y_stride, 1, first);
  for (; r < rows; ++r)
    tile<T, 1>(x, x_stride, w + r * w_stride, w_stride, k, y + r, y_stride, 1, first);
}

/// All tokens and rows for one block of k, tile by tile.
template <class W>
KOMT_INLINE void tile_tokens(const float* x, int64_t x_stride, int64_t tokens, const W* w,
                             int64_t w_stride, int64_t rows, int64_t k, float* y, int64_t y_stride,
                             bool first) {
  int64_t t = 0;
  for (; t + kTileTokens <= tokens; t += kTileTokens)
    tile_rows<kTileTokens, kTileRows>(x + t * x_stride, x_stride, w, w_stride, rows, k,
                                      y + t * y_stride, y_stride, first);
  for (; t + 2 <= tokens; t += 2)
    tile_rows<2, kTileRows>(x + t * x_stride, x_stride, w, w_stride, rows, k, y + t * y_stride,
                            y_stride, first);
  if (t < tokens)
    tile_rows<1, kTileRows>(x + t * x_stride, x_stride, w, w_stride, rows, k, y + t * y_stride,
                            y_stride, first);
}

/// Rows that few tokens read side by side, far apart. Each is the head of a long run through memory,
/// which is what processors prefetch well: 4 KiB pages at a time, several runs at once. Neighbouring
/// rows side by side would be one run cut into short pieces.
inline constexpr int kStreams = 4;

/// Few tokens: every weight is read once.
template <int T, class W>
KOMT_INLINE void matmul_streams(const MatmulTask& a) {
  const W* w = static_cast<const W*>(a.w);
  const int64_t apart = a.rows / kStreams;
  for (int64_t r = 0; r < apart; ++r) {
    for (int64_t i = 0; i < a.k; i += kDotBlock) {
      const int64_t k = a.k - i < kDotBlock ? a.k - i : kDotBlock;
      tile<T, kStreams>(a.x + i, a.x_stride, w + r * a.w_stride + i, apart * a.w_stride, k, a.y + r,
                        a.y_stride, apart, i == 0);
    }
  }
  for (int64_t r = apart * kStreams; r < a.rows; ++r) {
    for (int64_t i = 0; i < a.k; i += kDotBlock) {
      const int64_t k = a.k - i < kDotBlock ? a.k - i : kDotBlock;
      tile<T, 1>(a.x + i, a.x_stride, w + r * a.w_stride + i, a.w_stride, k, a.y + r, a.y_stride, 1,
                 i == 0);
    }
  }
}

/// Tokens whose inputs, for one block of k, stay in the second-level cache together with the rows.
inline constexpr int64_t kTokenChunk = 32;

/// Several tokens: a tile's rows meet a chunk of tokens while they are in the first-level cache, and
/// are converted each time, in registers, beside the multiply-adds. (Converting them once into a
/// buffer was measured slower for every number of tokens.)
template <class W>
void matmul_tiles(const MatmulTask& a) {
  const W* w = static_cast<const W*>(a.w);
  for (int64_t t = 0; t < a.tokens; t += kTokenChunk) {
    const int64_t tokens = a.tokens - t < kTokenChunk ? a.tokens - t : kTokenChunk;
    for (int64_t r = 0; r < a.rows; r += kTileRows) {
      const int64_t rows = a.rows - r < kTileRows ? a.rows - r : kTileRows;
      for (int64_t i = 0; i < a.k; i += kDotBlock) {
        const int64_t k = a.k - i < kDotBlock ? a.k - i : kDotBlock;
        tile_tokens(a.x + t * a.x_stride + i, a.x_stride, tokens, w + r * a.w_stride + i, a.w_stride,
                    rows, k, a.y + t * a.y_stride + r, a.y_stride, i == 0);
      }
    }
  }
}

template <class W>
void matmul(const MatmulTask& a) {
  if (a.tokens == 1) return matmul_streams<1, W>(a);
  if (a.tokens == 2) return matmul_streams<2, W>(a);
  if constexpr (kStreamTokens == 4) {
    if (a.tokens == 3) return matmul_streams<3, W>(a);
    if (a.tokens == 4) return matmul_streams<4, W>(a);
  }
  matmul_tiles<W>(a);
}
static_assert(kMatmulRows % kTileRows == 0 && (kStreamTokens == 2 || kStreamTokens == 4));
static_assert(kDotBlock % kRowPadding == 0 && kRowPadding % kLanes == 0);

}  // namespace komt::cpu::KOMT_ISA
