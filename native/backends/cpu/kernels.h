#pragma once
// What each instruction set implements. The kernels see rows, strides and pages, nothing of the
// engine; this header is all they include, because inline functions compiled with their target
// options must not be shared with the rest of the program.
#include <cstddef>
#include <cstdint>

namespace komt::cpu {

struct Half {
  uint16_t bits;
};
struct Bfloat16 {
  uint16_t bits;
};

/// Rows of weights, and of activations that meet them, are padded with zeros to a multiple of this.
inline constexpr int64_t kRowPadding = 16;
/// A dot product is cut into blocks of this many elements, summed each by itself and added in
/// order. Part of the numerics: one row and many must cut alike.
inline constexpr int64_t kDotBlock = 1024;
/// Most weight rows of one call of a matmul kernel; a multiple of every kernel's tile.
inline constexpr int64_t kMatmulRows = 48;
/// The same for few tokens (Kernels::stream_tokens): so many that each of the kernel's streams through
/// the rows is long.
inline constexpr int64_t kStreamRows = 1024;
/// Keys in a cache page, as engine/backend.h has it.
inline constexpr int kPageKeys = 64;

/// y[t, r] = sum_k x[t, k] * w[r, k].
struct MatmulTask {
  const float* x;  ///< [tokens, k]
  int64_t x_stride;
  int64_t tokens;
  const void* w;  ///< [rows, k]
  int64_t w_stride;
  int64_t rows;   ///< <= kMatmulRows, or kStreamRows where tokens <= Kernels::stream_tokens
  int64_t k;      ///< a multiple of kRowPadding
  float* y;       ///< [tokens, rows]
  int64_t y_stride;
};

/// Some query heads that share a key/value head, for some new tokens of one sequence.
struct AttentionTask {
  const float* query;  ///< first head of the first token; a token's heads are head_dim apart
  float* output;       ///< likewise
  int64_t token_stride;
  const int32_t* positions;  ///< [tokens] index in the cache; a token sees up to and with its own
  int tokens;
  int heads;
  int head_dim;
  const int32_t* pages;  ///< page numbers of the sequence
  const float* keys;     ///< the key/value head's part of page 0: [64, head_dim]
  const float* values;
  int64_t page_stride;  ///< floats from a page to the next
  float scale;
  int window;     ///< 0 = none
  float* scores;  ///< [tokens * heads, score_stride]
  int64_t score_stride;  ///< >= positions seen by any of the tokens, from the first page's start
};

struct Kernels {
  const char* name;
  /// Up to so many tokens a product is bound by memory: weights pass once, as long streams.
  int64_t stream_tokens;
  void (*matmul_f32)(const MatmulTask&);
  void (*matmul_f16)(const MatmulTask&);
  void (*matmul_bf16)(const MatmulTask&);
  void (*attention)(const AttentionTask&);
  /// y[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i]
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t n, float* y);
  /// y[i] = silu(x[2i]) * x[2i + 1]; n outputs
  void (*silu_gate)(const float* x, int64_t n, float* y);
  /// Half-split rotation of one head: `half` = head_dim / 2 angles.
  void (*rotate)(const float* x, const float* cos, const float* sin, int64_t half, float* y);
  void (*half_to_float)(const Half* x, int64_t n, float* y);
  void (*bfloat16_to_float)(const Bfloat16* x, int64_t n, float* y);
  /// Round to nearest even.
  void (*float_to_half)(const float* x, int64_t n, Half* y);
  void (*float_to_bfloat16)(const float* x, int64_t n, Bfloat16* y);
  void (*exp)(const float* x, int64_t n, float* y);
};

/// nullptr where the program was not built with them (other processor families).
const Kernels* generic_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();

}  // namespace komt::cpu
