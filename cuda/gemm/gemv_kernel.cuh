// y = W norm(x) for one row x: the decode step at batch 1, bound by the bytes of W alone.
//
// A warp computes two results at a time, the rows that its epilogue needs together (gate and up,
// the halves of a rotary pair), and goes through its share of them in one stream of 16-byte loads:
// while a batch of 8 loads a lane is multiplied, the next is on its way, across the end of a pair
// too. x is kept in shared memory as the activation type, after the RMSNorm if there is one. The
// grid fills the device once; which warp computes a pair doesn't change its bits.
//
// The order of a sum: lane l adds k = 8 (32 i + l) + j, ascending in i, then j; then the lanes in a
// butterfly (common/reduce.cuh).
//
// Bytes and FLOPs. 2 n k bytes in, 2 n k FLOPs; x and the results are below 1%. Roofline on an H200
// (4.3 TB/s), microseconds:
//            QKV   O     gate+up  down  lm_head | per token, all layers
//   7B       23.4   7.8  41.9     21.0  61.0    | 3,073  (325 tokens/s)
//   13B      36.6  12.2  65.8     32.9  76.2    | 5,977  (167 tokens/s)
// How the design gets there: Little's law wants 4.3 TB/s x 800 ns = 27 KiB in flight per SM. 16
// warps a SM (two blocks of 256 threads, at most 128 registers each) have a batch of 8 loads of 512
// bytes each in flight: 64 KiB. It is never two batches: nvcc 13.0 lets all these loads share one
// scoreboard, so that a wait for one batch is a wait for both, and a loop unrolled by two with the
// batches' names exchanged waits for the next before it multiplies the current one. As it stands the
// current batch is there and moved before the next is requested. Multiplying takes about 20 of an
// SM's 128 lanes at the rate at which its weights arrive. With programmatic dependent launch the
// first batch is requested before the kernel in front has ended.
#pragma once

#include "common/launch.cuh"
#include "common/reduce.cuh"
#include "common/vector_io.cuh"
#include "gemm/epilogue.cuh"
#include "gemm/gemv.h"
#include "ptx/grid_dependency.cuh"
#include "ptx/load.cuh"

namespace komt::kernels {

namespace gemv_detail {

inline constexpr int kThreads = 256;
inline constexpr int kWarps = kThreads / 32;
inline constexpr int kBlocksPerSm = 2;
inline constexpr int kLoads = 4;                      // a lane, row and batch
inline constexpr int kVector = 8;                     // elements in 16 bytes
inline constexpr int kBatch = 32 * kLoads * kVector;  // elements of a row

__host__ __device__ constexpr int padded_k(int k) { return (k + kBatch - 1) / kBatch * kBatch; }

// Kept as loaded: elements become floats where they are multiplied, not before.
struct WeightBatch {
  uint4 w[2][kLoads];
};

template <class T>
__device__ __forceinline__ float2 unpack(std::uint32_t bits);
template <>
__device__ __forceinline__ float2 unpack<half>(std::uint32_t bits) {
  __half2 pair;
  memcpy(&pair, &bits, sizeof(pair));
  return to_float2(pair);
}
template <>
__device__ __forceinline__ float2 unpack<bfloat16>(std::uint32_t bits) {
  return make_float2(__uint_as_float(bits << 16), __uint_as_float(bits & 0xffff0000u));
}

// Where a warp is in its stream: pair after pair, and in a pair batch after batch.
template <class T>
class WeightStream {
 public:
  __device__ __forceinline__ WeightStream(const GemvParams& p, int pair, int stride, int lane)
      : chunks_(p.k / kVector), lane_(lane), stride_(stride), pairs_((p.n + 1) / 2) {
    start_pair(p, pair);
  }

  __device__ __forceinline__ bool done() const { return pair_ >= pairs_; }
  __device__ __forceinline__ int pair() const { return pair_; }
  __device__ __forceinline__ int batch() const { return chunk_ / (32 * kLoads); }

  __device__ __forceinline__ void load(WeightBatch& batch) const {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int at = chunk_ + 32 * i;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        batch.w[r][i] = at < chunks_
                            ? ptx::load_global_no_allocate(row_[r] + std::int64_t(at) * kVector)
                            : uint4{0, 0, 0, 0};
      }
    }
  }

  // True at the end of a pair.
  __device__ __forceinline__ bool advance(const GemvParams& p) {
    chunk_ += 32 * kLoads;
    if (chunk_ - lane_ < chunks_) return false;
    start_pair(p, pair_ + stride_);
    return true;
  }

 private:
  __device__ __forceinline__ void start_pair(const GemvParams& p, int pair) {
    pair_ = pair;
    chunk_ = lane_;
    if (done()) return;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      // An odd n leaves the last pair without its second row: the first again, dropped at the end.
      const int column = min(2 * pair + r, p.n - 1);
      row_[r] =
          static_cast<const T*>(p.weight) + std::int64_t(weight_row(p.epilogue, column)) * p.k;
    }
  }

  const T* row_[2] = {};
  int chunks_;  // in a row
  int chunk_;
  int lane_;
  int pair_;
  int stride_;
  int pairs_;
};

// x, normalised if so wanted, zero-padded to whole batches.
template <class T, bool kNorm>
__device__ __forceinline__ void stage_input(const GemvParams& p, T* staged) {
  const int thread = static_cast<int>(threadIdx.x);
  const int padded = padded_k(p.k);
  if constexpr (kNorm) {
    const float* x = static_cast<const float*>(p.x);
    KOMT_SHARED(float, scratch, [kWarps]);
    float sum = 0.0f;
    for (int i = thread * 4; i < p.k; i += kThreads * 4) {
      const Vector128<float> v = load128(x + i);
#pragma unroll
      for (int j = 0; j < 4; ++j) sum = fmaf(v[j], v[j], sum);
    }
    const float mean = block_sum<kThreads>(sum, scratch) / static_cast<float>(p.k);
    const float scale = 1.0f / sqrtf(mean + p.norm_eps);
#pragma unroll 1
    for (int i = thread * kVector; i < padded; i += kThreads * kVector) {
      Vector128<T> out{};
      if (i < p.k) {
#pragma unroll
        for (int part = 0; part < kVector; part += 4) {
          const Vector128<float> v = load128(x + i + part);
          const Vector128<float> w = load128(p.norm_weight + i + part);
#pragma unroll
          for (int j = 0; j < 4; ++j) out[part + j] = from_float<T>(v[j] * scale * w[j]);
        }
      }
      store128(staged + i, out);
    }
  } else {
    const T* x = static_cast<const T*>(p.x);
    for (int i = thread * kVector; i < padded; i += kThreads * kVector) {
      store128(staged + i, i < p.k ? load128(x + i) : Vector128<T>{});
    }
  }
  __syncthreads();
}

template <class T>
__device__ __forceinline__ void multiply_pair(std::uint32_t weights, float2 x, float& sum) {
  const float2 w = unpack<T>(weights);
  sum = fmaf(w.y, x.y, fmaf(w.x, x.x, sum));
}

template <class T>
__device__ __forceinline__ void multiply(const WeightBatch& batch, const T* x, float (&sums)[2]) {
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    const uint4 v = *reinterpret_cast<const uint4*>(x + 32 * kVector * i);
    const float2 x0 = unpack<T>(v.x);
    const float2 x1 = unpack<T>(v.y);
    const float2 x2 = unpack<T>(v.z);
    const float2 x3 = unpack<T>(v.w);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      multiply_pair<T>(batch.w[r][i].x, x0, sums[r]);
      multiply_pair<T>(batch.w[r][i].y, x1, sums[r]);
      multiply_pair<T>(batch.w[r][i].z, x2, sums[r]);
      multiply_pair<T>(batch.w[r][i].w, x3, sums[r]);
    }
  }
}

}  // namespace gemv_detail

template <class T, bool kNorm>
__global__ void __launch_bounds__(gemv_detail::kThreads, gemv_detail::kBlocksPerSm)
    gemv_kernel(const GemvParams p) {
  using namespace gemv_detail;
  KOMT_DYN_SHARED(shared);
  T* const x = reinterpret_cast<T*>(shared);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  // Neighbouring pairs go to different blocks: what is left for the last turn is spread over all
  // SMs.
  const int blocks = static_cast<int>(gridDim.x);
  WeightStream<T> stream(p, warp * blocks + static_cast<int>(blockIdx.x), kWarps * blocks, lane);

  WeightBatch current;
  WeightBatch next;
  const bool idle = stream.done();
  if (!idle) stream.load(current);  // weights don't depend on the kernel in front of this one
  ptx::grid_dependency_wait();
  stage_input<T, kNorm>(p, x);
  ptx::grid_dependency_launch();
  if (idle) return;

  float sums[2] = {0.0f, 0.0f};
#pragma unroll 1
  for (;;) {
    const int pair = stream.pair();
    const int batch = stream.batch();
    const bool last = stream.advance(p);
    const bool more = !stream.done();
    if (more) stream.load(next);
    multiply(current, x + batch * kBatch + lane * kVector, sums);
    if (last) {
      float y[2] = {warp_sum(sums[0]), warp_sum(sums[1])};
      if (lane == 0) apply_epilogue<T>(p.epilogue, 0, 2 * pair, y);
      sums[0] = sums[1] = 0.0f;
    }
    if (!more) return;
    current = next;
  }
}

template <class T>
cudaError_t launch_gemv(const GemvParams& params, bool overlap, cudaStream_t stream) {
  using namespace gemv_detail;
  int sm_count = 0;
  if (cudaError_t error = device_attribute(&sm_count, cudaDevAttrMultiProcessorCount);
      error != cudaSuccess) {
    return error;
  }
  const int pairs = (params.n + 1) / 2;
  const int blocks = (pairs + kWarps - 1) / kWarps;
  const LaunchConfig config{
      .grid = dim3(blocks < kBlocksPerSm * sm_count ? blocks : kBlocksPerSm * sm_count),
      .block = dim3(kThreads),
      .dynamic_shared_bytes = static_cast<std::size_t>(padded_k(params.k)) * sizeof(T),
      .stream = stream,
      .programmatic_dependent_launch = overlap};
  return params.norm_weight != nullptr ? launch(gemv_kernel<T, true>, config, params)
                                       : launch(gemv_kernel<T, false>, config, params);
}

}  // namespace komt::kernels
