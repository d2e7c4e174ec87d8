// Log-softmax over the vocabulary, whole or of one id per row, for scoring; one block per row.
//
// The whole one moves 8 bytes per id: 512 rows of 32,000 ids are 131 MB, 30 us at an H200's 4.4 TB/s, of
// 262,144 ids 1.07 GB, 244 us. The other reads 4: half of that. What decides is to read a row once:
//  - One pass keeps maximum and sum online. A thread has four 16-byte loads in flight, an SM 64 KB, more
//    than twice what latency times bandwidth asks for; an id takes six instructions, of which the limit
//    is about 25.
//  - The values stay where they fit until the sum is known: the last ones in registers, the first ones in
//    shared memory, each read by the thread that wrote it. That is all of 32,000 ids, with two blocks on an
//    SM so that one reads while the other writes, and half of 128,256, with one.
//  - What doesn't fit is read again, the latest first, while L2 has it: for 128,256 ids 132 blocks leave
//    34 MB there. Output goes past it.
// An H200 took for 512 rows of 32,000, 128,256 and 262,144 ids 36, 168 and 373 us, 83, 71 and 65% of its read
// rate; of one id per row 18, 63 and 124, 84 to 98%.
#include <cmath>

#include "common/launch.cuh"
#include "common/reduce.cuh"
#include "common/vector_io.cuh"
#include "ptx/grid_dependency.cuh"
#include "ptx/math.cuh"
#include "ptx/store.cuh"
#include "sampling/sampling.h"
#include "sampling/scores.cuh"

namespace komt::kernels {
namespace {

constexpr int kQuads = 4;
constexpr int kSmallThreads = 512;
constexpr int kLargeThreads = 1024;
// Of a row that a small block holds: three chunks in 96 KB of shared memory and one in registers.
constexpr int kSmallVocab = 4 * kSmallThreads * kQuads * 4;

using Quad = Vector128<float>;

// A chunk is what a block loads at a time: quad i of a thread is quad i * kThreads + thread of it.
template <int kThreads>
struct Chunk {
  static constexpr int kIds = kThreads * kQuads * 4;
  static constexpr int kBytes = kIds * 4;

  static __host__ __device__ int count(int vocab) { return (vocab + kIds - 1) / kIds; }
  static __device__ __forceinline__ int first_id(int chunk, int quad) {
    return chunk * kIds + (quad * kThreads + static_cast<int>(threadIdx.x)) * 4;
  }
};

// Rows are aligned, or each id is loaded by itself; the thread and the order are the same.
template <bool kAligned>
__device__ __forceinline__ Quad load_quad(const float* row, int id, int vocab) {
  Quad quad;
  if constexpr (kAligned) {
    if (id < vocab) return load128(row + id);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) quad[i] = !kAligned && id + i < vocab ? row[id + i] : -INFINITY;
  return quad;
}

// The four loads of a whole chunk stand behind no condition, so that they are in flight together.
template <int kThreads, bool kAligned>
__device__ __forceinline__ void load_chunk(Quad (&quads)[kQuads], const float* row, int chunk,
                                           int vocab) {
  if (kAligned && (chunk + 1) * Chunk<kThreads>::kIds <= vocab) {
#pragma unroll
    for (int i = 0; i < kQuads; ++i) quads[i] = load128(row + Chunk<kThreads>::first_id(chunk, i));
  } else {
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      quads[i] = load_quad<kAligned>(row, Chunk<kThreads>::first_id(chunk, i), vocab);
    }
  }
}

template <bool kAligned>
__device__ __forceinline__ void store_quad(float* row, int id, int vocab, const Quad& quad) {
  if constexpr (kAligned) {
    uint4 bits;
    memcpy(&bits, &quad, sizeof(bits));
    if (id < vocab) ptx::store_global_streaming(row + id, bits);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (id + i < vocab) row[id + i] = quad[i];
    }
  }
}

__device__ __forceinline__ float exponential(float difference) {
  constexpr float kLog2E = 1.44269504088896340736f;
  return ptx::exp2_approx(difference * kLog2E);
}

// Sum of exp(score - maximum); joins are ordered by the shape of the block alone.
struct OnlineSum {
  float maximum;
  float sum;
};

__device__ __forceinline__ OnlineSum join(OnlineSum a, OnlineSum b) {
  const float maximum = fmaxf(a.maximum, b.maximum);
  if (maximum == -INFINITY) return {maximum, 0.0f};
  return {maximum, a.sum * exponential(a.maximum - maximum) + b.sum * exponential(b.maximum - maximum)};
}

__device__ __forceinline__ void add(OnlineSum& sum, const Quad (&quads)[kQuads]) {
  float maximum = sum.maximum;
#pragma unroll
  for (int i = 0; i < kQuads * 4; ++i) maximum = fmaxf(maximum, quads[i / 4][i % 4]);
  // With nothing but -infinity so far, differences would be infinity minus infinity.
  const float reference = maximum == -INFINITY ? 0.0f : maximum;
  float total = sum.sum * exponential(sum.maximum - reference);
#pragma unroll
  for (int i = 0; i < kQuads * 4; ++i) total += exponential(quads[i / 4][i % 4] - reference);
  sum = {maximum, total};
}

// The first id with the largest score, NaN above all, of ids that come in ascending order.
struct Best {
  float score;
  int id;

  __device__ __forceinline__ void add(float other, int other_id) {
    if (!(other <= score) && score == score) *this = {other, other_id};
  }
};

template <int kThreads>
struct Shared {
  OnlineSum sums[kThreads / 32];
  unsigned long long keys[kThreads / 32];
};

// maximum + log(sum) over the block; NaN in the row makes it NaN.
template <int kThreads>
__device__ __forceinline__ float log_sum_of(OnlineSum mine, OnlineSum* warp_sums) {
  const auto join_lanes = [&](OnlineSum sum) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
      const OnlineSum other{__shfl_xor_sync(kFullWarp, sum.maximum, offset),
                            __shfl_xor_sync(kFullWarp, sum.sum, offset)};
      sum = join(sum, other);
    }
    return sum;
  };
  mine = join_lanes(mine);
  const int lane = threadIdx.x % 32;
  if (lane == 0) warp_sums[threadIdx.x / 32] = mine;
  __syncthreads();
  mine = join_lanes(lane < kThreads / 32 ? warp_sums[lane] : OnlineSum{-INFINITY, 0.0f});
  return mine.maximum + logf(mine.sum);
}

// The first `kept` chunks stay in dynamic shared memory, the last one in registers.
template <int kThreads, bool kAligned>
__global__ void __launch_bounds__(kThreads, 1024 / kThreads)
    log_softmax_kernel(const float* logits, float* output, int vocab, int kept) {
  KOMT_DYN_SHARED(memory);
  KOMT_SHARED(Shared<kThreads>, shared, );
  using Chunks = Chunk<kThreads>;
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const std::size_t at = static_cast<std::size_t>(blockIdx.x) * vocab;
  const float* const row = logits + at;
  float* const result = output + at;
  const auto kept_quad = [&](int chunk, int i) {
    return reinterpret_cast<float*>(memory) + Chunks::first_id(chunk, i);
  };
  const int chunks = Chunks::count(vocab);
  Quad quads[kQuads];
  OnlineSum mine{-INFINITY, 0.0f};
  for (int chunk = 0; chunk < chunks; ++chunk) {
    load_chunk<kThreads, kAligned>(quads, row, chunk, vocab);
    if (chunk < kept) {
#pragma unroll
      for (int i = 0; i < kQuads; ++i) store128(kept_quad(chunk, i), quads[i]);
    }
    add(mine, quads);
  }
  const float log_sum = log_sum_of<kThreads>(mine, shared.sums);
  for (int chunk = chunks - 1;; --chunk) {
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) quads[i][j] -= log_sum;
      store_quad<kAligned>(result, Chunks::first_id(chunk, i), vocab, quads[i]);
    }
    if (chunk == 0) return;
    if (chunk - 1 < kept) {
#pragma unroll
      for (int i = 0; i < kQuads; ++i) quads[i] = load128(kept_quad(chunk - 1, i));
    } else {
      load_chunk<kThreads, kAligned>(quads, row, chunk - 1, vocab);
    }
  }
}

template <int kThreads, bool kAligned, bool kWithBest>
__global__ void __launch_bounds__(kThreads, 1024 / kThreads)
    score_tokens_kernel(ScoreTokensArgs args) {
  KOMT_SHARED(Shared<kThreads>, shared, );
  using Chunks = Chunk<kThreads>;
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const int row = blockIdx.x;
  const float* const logits = args.logits + static_cast<std::size_t>(row) * args.vocab;
  const int chunks = Chunks::count(args.vocab);
  OnlineSum mine{-INFINITY, 0.0f};
  Best best{-INFINITY, Chunks::first_id(0, 0)};
  for (int chunk = 0; chunk < chunks; ++chunk) {
    Quad quads[kQuads];
    load_chunk<kThreads, kAligned>(quads, logits, chunk, args.vocab);
    add(mine, quads);
    if constexpr (kWithBest) {
#pragma unroll
      for (int i = 0; i < kQuads * 4; ++i) {
        best.add(quads[i / 4][i % 4], Chunks::first_id(chunk, i / 4) + i % 4);
      }
    }
  }
  const float log_sum = log_sum_of<kThreads>(mine, shared.sums);
  if constexpr (kWithBest) {
    // A thread that had no id at all must not win a row of nothing but -infinity.
    const unsigned long long key = Chunks::first_id(0, 0) < args.vocab ? best_key(best.score, best.id) : 0;
    const unsigned long long all = block_max<kThreads>(key, shared.keys);
    if (threadIdx.x == 0) args.best[row] = best_id(all);
  }
  if (threadIdx.x == 0) args.logprobs[row] = logits[args.targets[row]] - log_sum;
}

LaunchConfig config_of(int rows, int threads, cudaStream_t stream) {
  return {.grid = dim3(rows),
          .block = dim3(threads),
          .stream = stream,
          .programmatic_dependent_launch = true};
}

bool is_aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; }

template <int kThreads>
cudaError_t launch_log_softmax(const float* logits, float* output, int rows, int vocab,
                               cudaStream_t stream) {
  using Chunks = Chunk<kThreads>;
  int memory = 0;
  const cudaError_t error = device_attribute(&memory, cudaDevAttrMaxSharedMemoryPerBlockOptin);
  if (error != cudaSuccess) return error;
  // Small blocks share an SM; each has some static shared memory, too.
  const int room = (memory - 2048) / (1024 / kThreads) / Chunks::kBytes;
  const int kept = room < Chunks::count(vocab) - 1 ? room : Chunks::count(vocab) - 1;
  LaunchConfig config = config_of(rows, kThreads, stream);
  config.dynamic_shared_bytes = static_cast<std::size_t>(kept) * Chunks::kBytes;
  return vocab % 4 == 0 && is_aligned(logits) && is_aligned(output)
             ? launch(log_softmax_kernel<kThreads, true>, config, logits, output, vocab, kept)
             : launch(log_softmax_kernel<kThreads, false>, config, logits, output, vocab, kept);
}

template <int kThreads, bool kAligned>
cudaError_t launch_score_tokens(const ScoreTokensArgs& args, cudaStream_t stream) {
  const LaunchConfig config = config_of(args.rows, kThreads, stream);
  return args.best != nullptr ? launch(score_tokens_kernel<kThreads, kAligned, true>, config, args)
                              : launch(score_tokens_kernel<kThreads, kAligned, false>, config, args);
}

}  // namespace

cudaError_t log_softmax(const float* logits, float* output, int rows, int vocab,
                        cudaStream_t stream) {
  if (rows < 0 || vocab < 1) return cudaErrorInvalidValue;
  if (rows == 0) return cudaSuccess;
  return vocab <= kSmallVocab
             ? launch_log_softmax<kSmallThreads>(logits, output, rows, vocab, stream)
             : launch_log_softmax<kLargeThreads>(logits, output, rows, vocab, stream);
}

cudaError_t score_tokens(const ScoreTokensArgs& args, cudaStream_t stream) {
  if (args.rows < 0 || args.vocab < 1) return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;
  const bool aligned = args.vocab % 4 == 0 && is_aligned(args.logits);
  if (args.vocab <= kSmallVocab) {
    return aligned ? launch_score_tokens<kSmallThreads, true>(args, stream)
                   : launch_score_tokens<kSmallThreads, false>(args, stream);
  }
  return aligned ? launch_score_tokens<kLargeThreads, true>(args, stream)
                 : launch_score_tokens<kLargeThreads, false>(args, stream);
}

}  // namespace komt::kernels
