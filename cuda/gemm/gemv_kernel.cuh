// y = W norm(x) for one row x: the decode step at batch 1, bound by the bytes of W alone.
//
// A unit of work is the two rows that an epilogue needs together (gate and up, the halves of a
// rotary pair), computed by a team of four warps, half a block: the grid fills the device once and
// units are dealt to its teams in turn. Dealt to single warps, 2,560 pairs on the 2,112 warps of an
// H200 would take two rounds where 1.21 are needed; its 528 teams take 5 where 4.85 are. A warp goes
// through its quarter of the rows in one stream of 16-byte loads: while a batch of 8 loads a lane is
// multiplied, the next is on its way, across the end of a unit too. What a warp has of a unit waits
// in shared memory; after the only barrier behind the stream, a thread for each unit adds the four
// parts and runs the epilogue. x is kept in shared memory as the activation type, after the RMSNorm
// if there is one.
//
// The order of a sum is fixed by k alone: of a team's 128 lanes lane l adds k = 8 (128 i + l) + j,
// ascending in i, then j; then the lanes of a warp in a butterfly (common/reduce.cuh), then the four
// warps, ascending. Which team computes a unit doesn't change its bits.
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
// SM's 128 lanes at the rate at which its weights arrive. The busiest SM has 20 units of 13B's O and
// down where the mean is 19.4, and 1 to 3% more than the mean in the other products.
//
// An H200 took, 13B float16: 41.0, 15.9, 68.3, 36.2 and 78.8, 87, 75, 94, 89 and 94% of its read rate with
// inputs that L2 doesn't have (bench/kernels), 38.1, 15.2, 66.7, 36.3 and 77.3 with (bench/kernels.mjs).
//
// What remains is the start. With programmatic dependent launch the first batch is requested before
// the kernel in front has ended, and the second is brought into L2 meanwhile: 128 KiB a SM, 4 us of
// the memory's time, while the kernel in front drains and x is staged.
#pragma once

#include <algorithm>

#include "common/launch.cuh"
#include "common/reduce.cuh"
#include "common/vector_io.cuh"
#include "gemm/epilogue.cuh"
#include "gemm/gemv.h"
#include "ptx/cp_async.cuh"
#include "ptx/grid_dependency.cuh"
#include "ptx/load.cuh"

namespace komt::kernels {

namespace gemv_detail {

inline constexpr int kThreads = 256;
inline constexpr int kBlocksPerSm = 2;
inline constexpr int kTeamWarps = 4;
inline constexpr int kTeamLanes = 32 * kTeamWarps;
inline constexpr int kTeams = kThreads / kTeamLanes;
inline constexpr int kMaxUnits = kTeamLanes;        // of a team: a lane for each at the end
inline constexpr int kLoads = 4;                    // a lane, row and batch
inline constexpr int kVector = 8;                   // elements in 16 bytes
inline constexpr int kRound = kTeamLanes * kVector;  // elements of a row that a team loads at once

__host__ __device__ constexpr int rounds_of(int k) { return (k + kRound - 1) / kRound; }
__host__ __device__ constexpr int padded_k(int k) { return rounds_of(k) * kRound; }

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

// Where a lane is in its team's stream: unit after unit, and in a unit round after round. A batch is
// the next kLoads rounds, whichever units they belong to.
template <class T>
class WeightStream {
 public:
  __device__ __forceinline__ WeightStream(const GemvParams& p, int pair, int stride, int lane)
      : row_{static_cast<const T*>(p.weight), static_cast<const T*>(p.weight)},
        lane_(lane),
        stride_(stride) {
    start_unit(p, pair);
  }

  // Zeros behind the end of a row and of the stream.
  __device__ __forceinline__ void load(const GemvParams& p, WeightBatch& batch) {
    visit(p, [&](int i, int r, bool valid, const T* from) {
      batch.w[r][i] = valid ? ptx::load_global_no_allocate(from) : uint4{0, 0, 0, 0};
    });
  }

  // What load() would request goes no further than L2.
  __device__ __forceinline__ void prefetch(const GemvParams& p) {
    visit(p, [&](int, int, bool valid, const T* from) {
      if (valid) ptx::prefetch_l2(from);
    });
  }

 private:
  template <class Function>
  __device__ __forceinline__ void visit(const GemvParams& p, Function&& function) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const bool valid = k_ < end_;
#pragma unroll
      for (int r = 0; r < 2; ++r) function(i, r, valid, row_[r] + k_);
      k_ += kRound;
      if (k_ - lane_ * kVector >= end_) start_unit(p, pair_ + stride_);
    }
  }

  __device__ __forceinline__ void start_unit(const GemvParams& p, int pair) {
    pair_ = pair;
    k_ = lane_ * kVector;
    end_ = pair <= (p.n - 1) / 2 ? p.k : 0;
    if (end_ == 0) return;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      // An odd n leaves the last pair without its second row: the first again, dropped at the end.
      const int column = min(2 * pair + r, p.n - 1);
      row_[r] =
          static_cast<const T*>(p.weight) + std::int64_t(weight_row(p.epilogue, column)) * p.k;
    }
  }

  const T* row_[2];
  int k_;    // of the lane's next load
  int end_;  // of the row; 0 behind the last unit
  int lane_;
  int pair_;
  int stride_;
};

// The row as the activation type, all of it on its way at once.
template <class T>
__device__ __forceinline__ void stage_plain(const GemvParams& p, T* staged) {
  const T* x = static_cast<const T*>(p.x);
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x) * kVector; i < padded_k(p.k); i += kThreads * kVector) {
    ptx::cp_async_zfill<16>(staged + i, i < p.k ? x + i : x, i < p.k ? 16 : 0);
  }
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
}

// The row normalised and rounded. Loads are requested several at a time: a thread has few of them,
// and one after the other would leave memory idle for longer than the sum takes.
template <class T>
__device__ __forceinline__ void stage_normalised(const GemvParams& p, T* staged) {
  constexpr int kSquares = 6;  // loads of four elements at a time: k = 5120 and below take one turn
  constexpr int kChunks = 2;   // of kVector elements at a time
  const int thread = static_cast<int>(threadIdx.x);
  const float* x = static_cast<const float*>(p.x);
  KOMT_SHARED(float, scratch, [kThreads / 32]);
  float sum = 0.0f;
#pragma unroll 1
  for (int first = thread * 4; first < p.k; first += kSquares * kThreads * 4) {
    Vector128<float> v[kSquares];
#pragma unroll
    for (int i = 0; i < kSquares; ++i) {
      const int at = first + i * kThreads * 4;
      v[i] = at < p.k ? load128(x + at) : Vector128<float>{};
    }
#pragma unroll
    for (int i = 0; i < kSquares; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) sum = fmaf(v[i][j], v[i][j], sum);
    }
  }
  const float mean = block_sum<kThreads>(sum, scratch) / static_cast<float>(p.k);
  const float scale = 1.0f / sqrtf(mean + p.norm_eps);
#pragma unroll 1
  for (int first = thread * kVector; first < padded_k(p.k); first += kChunks * kThreads * kVector) {
    Vector128<float> v[kChunks][2];
    Vector128<float> w[kChunks][2];
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      const int at = first + i * kThreads * kVector;
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        v[i][part] = at < p.k ? load128(x + at + 4 * part) : Vector128<float>{};
        w[i][part] = at < p.k ? load128(p.norm_weight + at + 4 * part) : Vector128<float>{};
      }
    }
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      const int at = first + i * kThreads * kVector;
      Vector128<T> out;
#pragma unroll
      for (int j = 0; j < kVector; ++j) {
        out[j] = from_float<T>(v[i][j / 4][j % 4] * scale * w[i][j / 4][j % 4]);
      }
      if (at < padded_k(p.k)) store128(staged + at, out);
    }
  }
}

template <class T>
__device__ __forceinline__ void multiply_pair(std::uint32_t weights, float2 x, float& sum) {
  const float2 w = unpack<T>(weights);
  sum = fmaf(w.y, x.y, fmaf(w.x, x.x, sum));
}

// One round of a lane: eight elements of both rows.
template <class T>
__device__ __forceinline__ void multiply(const uint4& low, const uint4& high, const T* x,
                                         float2& sum) {
  const uint4 v = *reinterpret_cast<const uint4*>(x);
  const float2 x0 = unpack<T>(v.x);
  const float2 x1 = unpack<T>(v.y);
  const float2 x2 = unpack<T>(v.z);
  const float2 x3 = unpack<T>(v.w);
  multiply_pair<T>(low.x, x0, sum.x);
  multiply_pair<T>(low.y, x1, sum.x);
  multiply_pair<T>(low.z, x2, sum.x);
  multiply_pair<T>(low.w, x3, sum.x);
  multiply_pair<T>(high.x, x0, sum.y);
  multiply_pair<T>(high.y, x1, sum.y);
  multiply_pair<T>(high.z, x2, sum.y);
  multiply_pair<T>(high.w, x3, sum.y);
}

}  // namespace gemv_detail

template <class T, bool kNorm>
__global__ void __launch_bounds__(gemv_detail::kThreads, gemv_detail::kBlocksPerSm)
    gemv_kernel(const GemvParams p) {
  using namespace gemv_detail;
  KOMT_DYN_SHARED(shared);
  KOMT_SHARED(float2, partials, [kTeams * kMaxUnits][kTeamWarps]);
  T* const x = reinterpret_cast<T*>(shared);
  const int thread = static_cast<int>(threadIdx.x);
  const int team = thread / kTeamLanes;
  const int team_lane = thread % kTeamLanes;
  // Neighbouring units go to different blocks: what is left for the last turn is spread over all
  // SMs.
  const int teams = kTeams * static_cast<int>(gridDim.x);
  const int first = team * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
  const int pairs = (p.n + 1) / 2;
  const int units = first < pairs ? (pairs - first - 1) / teams + 1 : 0;

  // Weights don't depend on the kernel in front of this one.
  WeightStream<T> stream(p, first, teams, team_lane);
  WeightBatch current;
  WeightBatch next;
  stream.load(p, current);
  if constexpr (kNorm) {
    constexpr int kLine = 128 / sizeof(float);
    for (int i = thread * kLine; i < p.k; i += kThreads * kLine) ptx::prefetch_l2(p.norm_weight + i);
  }
  WeightStream<T>(stream).prefetch(p);
  ptx::grid_dependency_wait();
  if constexpr (kNorm) {
    stage_normalised(p, x);
  } else {
    stage_plain(p, x);
  }
  __syncthreads();
  ptx::grid_dependency_launch();

  const int rounds = rounds_of(p.k);
  int round = 0;
  int unit = 0;
  float2 sum = make_float2(0.0f, 0.0f);
#pragma unroll 1
  while (unit < units) {
    stream.load(p, next);
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      multiply(current.w[0][i], current.w[1][i], x + round * kRound + team_lane * kVector, sum);
      if (++round == rounds) {
        const float2 total = make_float2(warp_sum(sum.x), warp_sum(sum.y));
        // A batch may reach beyond the last unit.
        if (thread % 32 == 0 && unit < units) {
          partials[team * kMaxUnits + unit][team_lane / 32] = total;
        }
        sum = make_float2(0.0f, 0.0f);
        round = 0;
        ++unit;
      }
    }
    current = next;
  }
  __syncthreads();
  if (team_lane >= units) return;
  float y[2] = {0.0f, 0.0f};
#pragma unroll
  for (int warp = 0; warp < kTeamWarps; ++warp) {
    y[0] += partials[thread][warp].x;
    y[1] += partials[thread][warp].y;
  }
  apply_epilogue<T>(p.epilogue, 0, 2 * (first + team_lane * teams), y);
}

template <class T>
cudaError_t launch_gemv(const GemvParams& params, bool overlap, cudaStream_t stream) {
  using namespace gemv_detail;
  int sm_count = 0;
  if (cudaError_t error = device_attribute(&sm_count, cudaDevAttrMultiProcessorCount);
      error != cudaSuccess) {
    return error;
  }
  // As many blocks as fit the device, or a multiple of that where a team would have more units than
  // there is room for.
  const int pairs = (params.n + 1) / 2;
  const int resident = kBlocksPerSm * sm_count;
  const int turns = (pairs - 1) / (resident * kTeams * kMaxUnits) + 1;
  const int blocks = std::min((pairs + kTeams - 1) / kTeams, resident * turns);
  const LaunchConfig config{
      .grid = dim3(blocks),
      .block = dim3(kThreads),
      .dynamic_shared_bytes = static_cast<std::size_t>(padded_k(params.k)) * sizeof(T),
      .stream = stream,
      .programmatic_dependent_launch = overlap};
  return params.norm_weight != nullptr ? launch(gemv_kernel<T, true>, config, params)
                                       : launch(gemv_kernel<T, false>, config, params);
}

}  // namespace komt::kernels
