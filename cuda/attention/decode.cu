// Attention of sequences with one new token: the cache is split along its length over blocks, each
// streams its part once, and the last block of a head to finish merges the parts ("flash decoding").
//
// Bytes: 2 * 2 * head_dim per cached token and key/value head, 4,096 tokens: 67 MB a layer for 7B, 84
// for 13B, 16.8 for 70B, 15.6, 19.5 and 3.9 us at an H200's 4.3 TB/s. FLOPs: 2 * 2 * head_dim per token
// and query head, 1 FLOP a byte for 7B and 13B and 8 for 70B's groups of 8: memory is the limit. A block
// covers up to 16 query heads that share a key/value head, one 16-row mma tile, so the cache is read once
// per group whatever its size. Each warp streams its own 16 tokens of every step through its own ring of
// two cp.async steps, without block barriers; a step is requested as soon as its place has been read, so
// that a warp that waits has both of them in flight. For heads of 128 that is 64 KB a block, three blocks
// on an SM of sm_90 (228 KB), two on sm_80 and one on sm_86, sm_89 and sm_120: 192 to 64 KB against the
// 27 KB per SM that latency times bandwidth asks for.
//
// An H200 took for one sequence of 256, 1,024, 4,096 and 16,384 tokens, microseconds: 13B 6.5, 10.3, 26.4 and
// 83.9 (the last 90% of the read rate), 70B 7.2, 9.2, 12.7 and 28.0; for 16 of 4,096 308 (99%) and 74. Of a few
// thousand tokens it is latency that counts: launch, lengths, page and first row, then ticket and merge. A third block on an SM hides one block's ends
// behind the others' streams; the pages of a part are looked up once, all together; the merge has its
// loads in flight together (merge.cuh), and as many of them as split.h allows.
#include "attention/kernels.h"
#include "attention/merge.cuh"
#include "attention/split.h"
#include "attention/tile.cuh"
#include "common/dispatch.cuh"
#include "common/launch.cuh"
#include "ptx/fence.cuh"
#include "ptx/grid_dependency.cuh"

namespace komt::kernels {
namespace {

constexpr int kQueryRows = kDecodeQueryRows;
constexpr int kWarpKeys = 16;
constexpr int kBlocksPerSm = 3;  // of heads up to 128: 168 registers, 64 KB

template <int kDim>
struct Shape {
  static constexpr int kWarps = kDim <= 128 ? 4 : 2;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kStages = 2;
  static constexpr int kStepKeys = kWarps * kWarpKeys;
  static constexpr int kStepsPerPage = kPageTokens / kStepKeys;
  static constexpr int kTileBytes = Tile<kDim>::bytes(kWarpKeys);
  static constexpr int kRingBytes = kWarps * kStages * 2 * kTileBytes;
  // The warps' outputs take the ring's place when it has run dry.
  static constexpr int kOutputBytes = SharedResult<kDim>::bytes(kWarps);
  static constexpr int kSharedBytes = kRingBytes > kOutputBytes ? kRingBytes : kOutputBytes;
  static_assert(kSharedBytes <= 64 * 1024, "three blocks fit sm_90, one sm_86, sm_89 and sm_120");
  // The pages of a part are looked up once, a lane each.
  static_assert(kMaxSplitPages <= 32);
};

// Fragments of the 16 queries, straight from global memory: read once, so not worth a tile.
template <class T, int kDim>
__device__ __forceinline__ void load_queries(std::uint32_t (&q)[kDim / 16][4],
                                             const AttentionArgs& args, const Place& place,
                                             int head_dim, int lane) {
  const T* query = static_cast<const T*>(args.query) +
                   (static_cast<std::size_t>(place.token) * args.num_heads + place.first_head) *
                       head_dim;
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i % 2 * 8;
      const int column = step * 16 + lane % 4 * 2 + i / 2 * 8;
      const bool valid = row < place.heads && column < head_dim;
      q[step][i] =
          valid ? *reinterpret_cast<const std::uint32_t*>(query + row * head_dim + column) : 0u;
    }
  }
}

// One warp's 16 keys: scores, softmax, output. `first` is the position of the first of them.
template <class T, int kDim>
__device__ __forceinline__ void attend(float (&output)[kDim / 8][4], SoftmaxRows& softmax,
                                       const std::uint32_t (&q)[kDim / 16][4],
                                       const unsigned char* keys, const unsigned char* values,
                                       int first, const Place& place, float scale_log2,
                                       const LaneRows<kDim>& key_lanes,
                                       const LaneRows<kDim>& value_lanes, int lane) {
  float scores[2][4] = {};
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
    std::uint32_t k[4];
    ptx::ldmatrix_x4(k, key_lanes.at(keys, 0, step));
    mma_pair<T>(scores[0], scores[1], q[step], k);
  }
#pragma unroll
  for (int block = 0; block < 2; ++block) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = first + block * 8 + lane % 4 * 2 + i % 2;
      if (key < place.first_key || key >= place.kv_length) scores[block][i] = -INFINITY;
    }
  }
  float rescale[2];
  softmax.update(scores, scale_log2, rescale);
  std::uint32_t p[4];
  probability_fragment<T>(p, scores[0], scores[1]);
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      output[step * 2][i] *= rescale[i / 2];
      output[step * 2 + 1][i] *= rescale[i / 2];
    }
    std::uint32_t v[4];
    ptx::ldmatrix_x4_trans(v, value_lanes.at(values, 0, step));
    mma_pair<T>(output[step * 2], output[step * 2 + 1], p, v);
  }
}

template <class T, int kDim, bool kExact>
__global__ void __launch_bounds__(Shape<kDim>::kThreads, kBlocksPerSm)
    attention_decode_kernel(AttentionArgs args, Partials partials) {
  using S = Shape<kDim>;
  KOMT_DYN_SHARED(shared);
  KOMT_SHARED(float, warp_maximum, [S::kWarps * kQueryRows]);
  KOMT_SHARED(float, warp_sum, [S::kWarps * kQueryRows]);
  KOMT_SHARED(bool, is_last, );
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();

  const int head_dim = kExact ? kDim : args.head_dim;
  const int group = args.num_heads / args.num_kv_heads;
  const int row_tiles = decode_row_tiles(args.num_heads, args.num_kv_heads);
  Place place;
  place.sequence = blockIdx.z;
  // What the first byte of the cache has to wait for is three loads long: lengths, page, row.
  place.token = args.cu_seqlens[place.sequence];
  const int next_token = args.cu_seqlens[place.sequence + 1];
  place.kv_length = args.kv_lengths[place.sequence];
  if (next_token - place.token != 1) return;
  place.kv_head = blockIdx.y / row_tiles;
  const int row_tile = blockIdx.y % row_tiles;
  place.first_head = place.kv_head * group + row_tile * kQueryRows;
  place.heads = min(kQueryRows, group - row_tile * kQueryRows);
  place.first_key = args.window == 0 ? 0 : max(0, place.kv_length - args.window);
  const int first_page = place.first_key / kPageTokens;
  const int last_page = (place.kv_length - 1) / kPageTokens;
  const SplitPlan plan = split_plan(last_page - first_page + 1, args.num_kv_heads * row_tiles,
                                    decode_tile_rows(args.num_heads, args.num_kv_heads));
  place.splits = plan.splits;
  place.split = blockIdx.x;
  if (place.split >= place.splits) return;
  place.page_begin = first_page + place.split * plan.pages_per_split;
  place.page_end = min(place.page_begin + plan.pages_per_split, last_page + 1);

  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const std::int32_t* pages = args.block_table +
                              static_cast<std::size_t>(place.sequence) * args.block_table_stride +
                              place.page_begin;
  const int page_of_lane = lane < place.page_end - place.page_begin ? pages[lane] : 0;
  std::uint32_t q[kDim / 16][4];
  load_queries<T, kDim>(q, args, place, head_dim, lane);
  unsigned char* const ring = shared + warp * (S::kStages * 2 * S::kTileBytes);
  const int steps = (place.page_end - place.page_begin) * S::kStepsPerPage;
  const auto first_key_of = [&](int step) {
    return place.page_begin * kPageTokens + step * S::kStepKeys + warp * kWarpKeys;
  };
  const auto copy_rows = [&](unsigned char* tile, const T* source, int valid_rows) {
    if constexpr (kExact && copies_whole_rows<kDim, 32>) {
      copy_whole_rows_async<kDim, kWarpKeys, 32>(tile, source, valid_rows, lane);
    } else {
      copy_tile_async<kDim, kWarpKeys, 32>(tile, source, head_dim, valid_rows, head_dim, lane);
    }
  };
  // Every step commits a group, also behind the end, so that the count of groups says the step.
  const auto copy_step_async = [&](int step) {
    const int first = first_key_of(step);
    if (step < steps && first < place.kv_length) {
      const int page = __shfl_sync(0xffffffffu, page_of_lane, step / S::kStepsPerPage);
      const std::size_t row =
          (static_cast<std::size_t>(page) * args.num_kv_heads + place.kv_head) * kPageTokens +
          first % kPageTokens;
      unsigned char* stage = ring + step % S::kStages * (2 * S::kTileBytes);
      copy_rows(stage, static_cast<const T*>(args.keys) + row * head_dim, place.kv_length - first);
      copy_rows(stage + S::kTileBytes, static_cast<const T*>(args.values) + row * head_dim,
                place.kv_length - first);
    }
    ptx::cp_async_commit();
  };

#pragma unroll
  for (int step = 0; step < S::kStages; ++step) copy_step_async(step);
  const LaneRows<kDim> key_lanes = key_rows<kDim>(lane);
  const LaneRows<kDim> value_lanes = value_rows<kDim>(lane);
  const float scale_log2 = args.scale * 1.4426950408889634f;
  float output[kDim / 8][4] = {};
  SoftmaxRows softmax;
  for (int step = 0; step < steps; ++step) {
    ptx::cp_async_wait<S::kStages - 1>();
    __syncwarp();  // all lanes' copies are there
    const int first = first_key_of(step);
    if (first < place.kv_length && first + kWarpKeys > place.first_key) {
      const unsigned char* stage = ring + step % S::kStages * (2 * S::kTileBytes);
      attend<T, kDim>(output, softmax, q, stage, stage + S::kTileBytes, first, place, scale_log2,
                      key_lanes, value_lanes, lane);
    }
    __syncwarp();  // all lanes are done with the stage that is refilled
    copy_step_async(step + S::kStages);
  }
  // The token is read again: kept over the loop, its row's address would spill heads of 256.
  T* const to = static_cast<T*>(args.output) +
                static_cast<std::size_t>(args.cu_seqlens[place.sequence]) * args.num_heads * head_dim;
  ptx::cp_async_wait<0>();
  __syncthreads();  // no ring is used any more

  const SharedResult<kDim> result{reinterpret_cast<float*>(shared), warp_maximum, warp_sum};
#pragma unroll
  for (int half_row = 0; half_row < 2; ++half_row) {
    const float total = softmax.total(half_row);
    const int row = lane / 4 + half_row * 8;
    if (row >= place.heads) continue;
    if (lane % 4 == 0) {
      warp_maximum[warp * kQueryRows + row] = softmax.maximum[half_row];
      warp_sum[warp * kQueryRows + row] = total;
    }
#pragma unroll
    for (int block = 0; block < kDim / 8; ++block) {
      *reinterpret_cast<float2*>(result.output_at(warp, row) + block * 8 + lane % 4 * 2) =
          make_float2(output[block][half_row * 2], output[block][half_row * 2 + 1]);
    }
  }
  __syncthreads();
  // Once if the sequence isn't split, else for the block's part and, in the last block, for all parts.
#pragma unroll 1
  for (bool complete = place.splits == 1;; complete = true) {
    combine_warps<T, kDim, S::kWarps>(result, place, partials, args.num_heads, head_dim, complete, to);
    if (complete) return;
    // The ticket's release covers what the block's other threads wrote before the barrier, its acquire
    // what they read behind the next.
    __syncthreads();
    std::uint32_t* ticket = args.tickets + place.sequence * gridDim.y + blockIdx.y;
    if (threadIdx.x == 0) {
      is_last =
          ptx::atomic_add_acq_rel_gpu(ticket, 1) == static_cast<std::uint32_t>(place.splits - 1);
      if (is_last) *ticket = 0;
    }
    __syncthreads();
    if (!is_last) return;
    gather_splits<kDim, S::kWarps>(result, place, partials, args.num_heads, head_dim, warp, lane);
    __syncthreads();
  }
}

}  // namespace

cudaError_t attention_decode(const AttentionArgs& args, cudaStream_t stream) {
  const int row_tiles = decode_row_tiles(args.num_heads, args.num_kv_heads);
  const int max_pages = (args.max_kv_length + kPageTokens - 1) / kPageTokens;
  const int max_splits = max_splits_of(max_pages, args.num_kv_heads * row_tiles);
  const std::size_t parts =
      static_cast<std::size_t>(args.num_sequences) * args.num_heads * max_splits;
  const Partials partials{args.partials,
                          reinterpret_cast<float2*>(args.partials + parts * args.head_dim),
                          max_splits};
  return dispatch_16bit(args.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return dispatch_head_dim(args.head_dim, [&](auto padded, auto exact) {
      constexpr int kDim = decltype(padded)::value;
      using S = Shape<kDim>;
      return launch(attention_decode_kernel<T, kDim, decltype(exact)::value>,
                    LaunchConfig{.grid = dim3(max_splits, args.num_kv_heads * row_tiles,
                                              args.num_sequences),
                                 .block = dim3(S::kThreads),
                                 .dynamic_shared_bytes = S::kSharedBytes,
                                 .stream = stream,
                                 .programmatic_dependent_launch = true},
                    args, partials);
    });
  });
}

}  // namespace komt::kernels
