// y = norm(x) W^T + bias and what happens to y next: every matrix product of a Llama layer.
//
// One row goes to gemv_kernel.cuh: weights streamed once, dot products, RMSNorm in front if wanted.
// More rows go to gemm_kernel.cuh (mma.sync) or wgmma_kernel.cuh (sm_90a), in narrow tiles up to 64 rows
// and in wide ones above; which one, the measurements in tile.h say.
//
// Determinism. Every kernel adds in an order that is fixed by the shape: results repeat bit for bit
// from run to run, on every schedule and every device of one architecture. All tiles of the
// tensor-core kernels add k in ascending steps of 16 into one accumulator, so a row's result does
// not depend on how many rows are computed with it nor on the tile; an H200's wgmma and mma.sync gave
// the same bits (test/kernels: gemm_batch_invariant). The one-row kernel adds in another order, which k
// alone fixes: every 128th chunk of 8 in one lane, the 32 lanes of a warp in a butterfly, then four
// warps, ascending. A row computed alone may therefore differ, in the last bits of the float32 sum, from
// the same row in a larger batch; LinearArgs::batch_invariant sends single rows through the tensor-core
// kernels too and makes them equal. It costs the norm's fusion and the lower latency of the one-row
// kernel, not weight traffic.
#pragma once

#include <cstdint>

#include "common/element_type.h"
#include "common/platform.cuh"

namespace komt::kernels {

enum class LinearEpilogue : std::uint8_t {
  store,         ///< output[m, n] = y, float32 or the activation type
  residual_add,  ///< output[m, n] += y, output float32
  silu_gate,    ///< output[m, i] = silu(y[m, 2i]) * y[m, 2i+1], output the activation type [m, n/2]
  rope_append,  ///< weight rows are [q heads | k heads | v heads]; see RopeAppend
};

/// Where rotated queries, rotated keys and values go. Pairs are half-split as in Hugging Face's
/// Llama: (y[d], y[d + D/2]) -> (y[d] c - y[d + D/2] s, y[d + D/2] c + y[d] s), D = head_dim. The
/// kernels load the weight rows of a pair next to each other, so weights keep their natural order.
/// Rotation is done in float32 before rounding. Queries go to LinearArgs::output [rows, num_heads *
/// head_dim] in the activation type; keys and values into pages of 64 tokens, [blocks,
/// num_kv_heads, 64, head_dim].
struct RopeAppend {
  const std::int32_t* positions = nullptr;     ///< [rows] index in the sequence's cache
  const std::int32_t* rope_rows = nullptr;     ///< [rows] row of the cos and sin tables
  const std::int32_t* sequence_ids = nullptr;  ///< [rows] row of the block table
  const std::int32_t* block_table = nullptr;   ///< [sequences, block_table_stride]
  int block_table_stride = 0;
  const float* cos = nullptr;  ///< [table rows, head_dim / 2], 16-byte aligned
  const float* sin = nullptr;
  void* keys = nullptr;  ///< activation type
  void* values = nullptr;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;  ///< a multiple of 8
};

/// Device pointers, all 16-byte aligned and row-major without gaps.
struct LinearArgs {
  ElementType type = ElementType::f16;  ///< of weight and activations: f16 or bf16
  int rows = 0;                         ///< m, any; 0 does nothing
  int n = 0;                            ///< out features, any >= 1 (even for silu_gate)
  int k = 0;                            ///< in features, a multiple of 8; n * k < 2^34
  const void* input = nullptr;          ///< [rows, k]; float32 when norm_weight is set
  const void* weight = nullptr;         ///< [n, k]
  const float* bias = nullptr;          ///< [n] in the order of the weight's rows, or none
  void* output = nullptr;
  ElementType output_type = ElementType::f16;
  LinearEpilogue epilogue = LinearEpilogue::store;
  RopeAppend rope;
  /// RMSNorm of the input in front: x / sqrt(mean(x^2) + norm_eps) * norm_weight, in float32,
  /// rounded to the activation type. Only where linear_fuses_norm() says so.
  const float* norm_weight = nullptr;  ///< [k]
  float norm_eps = 0;
  /// A row's result has the same bits whatever `rows` is.
  bool batch_invariant = false;
  /// The kernel may start while its predecessor in the stream still runs: it fetches weights, which
  /// nothing in flight may write, and waits before it touches anything else.
  bool programmatic_dependent_launch = false;
};

/// Whether linear() takes norm_weight for these args (norm_weight itself is not looked at). Where
/// it does not, the caller runs the RMSNorm kernel into a buffer of the activation type first.
bool linear_fuses_norm(const LinearArgs& args);

/// Enqueues on `stream`. cudaErrorInvalidValue if the arguments break a rule above; else what the
/// launch returned.
cudaError_t linear(const LinearArgs& args, cudaStream_t stream);

}  // namespace komt::kernels
