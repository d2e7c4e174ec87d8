// Attention of sequences with several new tokens: prompts and their chunks (after FlashAttention-2,
// Dao 2023). One block per 128 queries (64 for heads over 128) of one head; four warps of 32 (16) rows;
// keys and values pass through shared memory a page of 64 at a time, scores never leave registers.
//
// FLOPs: 2 * 2 * head_dim per query, head and visible key. A causal prompt of 2,048 tokens is 34 GFLOP
// a layer for 7B (32 heads of 128) and 43 for 13B (40): 44 and 55 us at an H200's 788 TFLOP/s; the
// bytes (q, k, v, out: 67 and 84 MB) take 16 and 20 us and mostly hit L2. So tensor cores are the
// limit, and the rate at which shared memory feeds them the next one: 32 rows a warp use each key and
// value fragment twice, which halves that traffic (with 16 rows it would equal the time of the
// mma.sync on sm_90). While a warp multiplies queries with keys its values are on their way, while it
// multiplies probabilities with values the next keys are: 32 KB in flight per block, and two blocks
// on an SM (64 KB of shared memory and at most 255 registers x 128 threads each for heads of 128)
// cover each other's softmax and barriers. mma.sync reaches 63 to 65% of sm_90's peak at best.
#include "attention/kernels.h"
#include "attention/tile.cuh"
#include "common/dispatch.cuh"
#include "common/launch.cuh"
#include "ptx/grid_dependency.cuh"

namespace komt::kernels {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kKeys = kPageTokens;

// kExact: head_dim is kDim, and every stride of the cache a constant; else head_dim < kDim.
template <int kDim, bool kExact>
struct Shape {
  // 16-row tiles per warp. Two need 128 + 64 registers for output and scores of 128 columns.
  static constexpr int kRowTiles = kExact && kDim <= 128 ? 2 : 1;
  static constexpr int kWarpRows = 16 * kRowTiles;
  static constexpr int kRows = kWarps * kWarpRows;
  static constexpr int kSharedBytes = Tile<kDim>::bytes(kRows + 2 * kKeys);
};

// What one warp holds: 16 kRowTiles queries and their output so far.
template <class T, int kDim, int kRowTiles>
struct WarpState {
  static constexpr int kKeyBlocks = kKeys / 8;

  float output[kRowTiles][kDim / 8][4] = {};
  SoftmaxRows softmax[kRowTiles];

  __device__ __forceinline__ void scores_of(float (&scores)[kRowTiles][kKeyBlocks][4],
                                            const unsigned char* queries,
                                            const LaneRows<kDim>& query_rows,
                                            const unsigned char* keys,
                                            const LaneRows<kDim>& key_rows) const {
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) {
#pragma unroll
      for (int block = 0; block < kKeyBlocks; ++block) {
#pragma unroll
        for (int i = 0; i < 4; ++i) scores[tile][block][i] = 0;
      }
    }
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      std::uint32_t q[kRowTiles][4];
#pragma unroll
      for (int tile = 0; tile < kRowTiles; ++tile) {
        ptx::ldmatrix_x4(q[tile], query_rows.at(queries, tile * 16, step));
      }
#pragma unroll
      for (int block = 0; block < kKeyBlocks; block += 2) {
        std::uint32_t k[4];
        ptx::ldmatrix_x4(k, key_rows.at(keys, block * 8, step));
#pragma unroll
        for (int tile = 0; tile < kRowTiles; ++tile) {
          mma_pair<T>(scores[tile][block], scores[tile][block + 1], q[tile], k);
        }
      }
    }
  }

  // Scores to probabilities, packed as A fragments: half the registers.
  __device__ __forceinline__ void normalise(std::uint32_t (&p)[kRowTiles][kKeys / 16][4],
                                            float (&scores)[kRowTiles][kKeyBlocks][4],
                                            float scale_log2) {
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) {
      float rescale[2];
      softmax[tile].update(scores[tile], scale_log2, rescale);
#pragma unroll
      for (int key_step = 0; key_step < kKeys / 16; ++key_step) {
        probability_fragment<T>(p[tile][key_step], scores[tile][key_step * 2],
                                scores[tile][key_step * 2 + 1]);
      }
#pragma unroll
      for (int block = 0; block < kDim / 8; ++block) {
#pragma unroll
        for (int i = 0; i < 4; ++i) output[tile][block][i] *= rescale[i / 2];
      }
    }
  }

  __device__ __forceinline__ void accumulate(const std::uint32_t (&p)[kRowTiles][kKeys / 16][4],
                                             const unsigned char* values,
                                             const LaneRows<kDim>& value_rows) {
#pragma unroll
    for (int key_step = 0; key_step < kKeys / 16; ++key_step) {
#pragma unroll
      for (int step = 0; step < kDim / 16; ++step) {
        std::uint32_t v[4];
        ptx::ldmatrix_x4_trans(v, value_rows.at(values, key_step * 16, step));
#pragma unroll
        for (int tile = 0; tile < kRowTiles; ++tile) {
          mma_pair<T>(output[tile][step * 2], output[tile][step * 2 + 1], p[tile][key_step], v);
        }
      }
    }
  }
};

// Scores of keys that the row may not see become -infinity. `row_position` and `first_key` are
// positions in the sequence.
template <int kBlocks>
__device__ __forceinline__ void mask_scores(float (&scores)[kBlocks][4], int row_position,
                                            int first_key, int window, int lane) {
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = first_key + block * 8 + lane % 4 * 2 + i % 2;
      const int row = row_position + lane / 4 + i / 2 * 8;
      const bool visible = key <= row && (window == 0 || key > row - window);
      if (!visible) scores[block][i] = -INFINITY;
    }
  }
}

template <class T, int kDim, bool kExact>
__global__ void __launch_bounds__(kThreads) attention_prefill_kernel(AttentionArgs args) {
  using S = Shape<kDim, kExact>;
  KOMT_DYN_SHARED(shared);
  unsigned char* const queries = shared;
  unsigned char* const keys = queries + Tile<kDim>::bytes(S::kRows);
  unsigned char* const values = keys + Tile<kDim>::bytes(kKeys);
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();

  const int sequence = blockIdx.z;
  const int head = blockIdx.y;
  const int first_token = args.cu_seqlens[sequence];
  const int new_tokens = args.cu_seqlens[sequence + 1] - first_token;
  // Blocks start in order: the last queries see the most keys and go first.
  const int first_row = static_cast<int>(gridDim.x - 1 - blockIdx.x) * S::kRows;
  if (new_tokens < 2 || first_row >= new_tokens) return;
  const int kv_length = args.kv_lengths[sequence];
  const int rows = min(S::kRows, new_tokens - first_row);
  const int first_position = kv_length - new_tokens + first_row;
  const int last_position = first_position + rows - 1;

  const int head_dim = kExact ? kDim : args.head_dim;
  const std::size_t row_stride = static_cast<std::size_t>(args.num_heads) * head_dim;
  const std::size_t first_element =
      static_cast<std::size_t>(first_token + first_row) * row_stride +
      static_cast<std::size_t>(head) * head_dim;
  const int kv_head = head / (args.num_heads / args.num_kv_heads);
  const std::int32_t* pages =
      args.block_table + static_cast<std::size_t>(sequence) * args.block_table_stride;
  const int thread = threadIdx.x;
  const auto copy_page_async = [&](unsigned char* tile, const void* cache, int page) {
    const std::size_t row =
        (static_cast<std::size_t>(pages[page]) * args.num_kv_heads + kv_head) * kPageTokens;
    const T* const source = static_cast<const T*>(cache) + row * head_dim;
    const int valid_rows = kv_length - page * kPageTokens;
    if constexpr (kExact && swizzles_alike<kDim, kThreads>) {
      copy_whole_rows_async<kDim, kKeys, kThreads>(tile, source, valid_rows, thread);
    } else {
      copy_tile_async<kDim, kKeys, kThreads>(tile, source, head_dim, valid_rows, head_dim, thread);
    }
    ptx::cp_async_commit();
  };

  const int page_end = last_position / kPageTokens + 1;
  const int page_begin =
      args.window == 0 ? 0 : max(0, first_position - args.window + 1) / kPageTokens;
  copy_tile_async<kDim, S::kRows, kThreads>(queries,
                                            static_cast<const T*>(args.query) + first_element,
                                            row_stride, rows, head_dim, thread);
  copy_page_async(keys, args.keys, page_begin);

  const int lane = thread % 32;
  const int warp_row = thread / 32 * S::kWarpRows;
  const int warp_first = first_position + warp_row;
  const int warp_last = warp_first + S::kWarpRows - 1;
  const float scale_log2 = args.scale * 1.4426950408889634f;
  const unsigned char* const warp_queries = queries + Tile<kDim>::bytes(warp_row);
  const LaneRows<kDim> query_lanes = query_rows<kDim>(lane);
  const LaneRows<kDim> key_lanes = key_rows<kDim>(lane);
  const LaneRows<kDim> value_lanes = value_rows<kDim>(lane);
  WarpState<T, kDim, S::kRowTiles> state;

  for (int page = page_begin; page < page_end; ++page) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // the keys are there, and everyone is done with the values before these
    copy_page_async(values, args.values, page);

    const int first_key = page * kPageTokens;
    const int last_key = first_key + kKeys - 1;
    // A warp whose rows see no key of this page, or that has no rows, only helps to copy. Its other
    // results stay as they are, bit for bit: the page would have added zeros.
    const bool takes_part = warp_row < rows && first_key <= warp_last &&
                            (args.window == 0 || last_key > warp_first - args.window);
    std::uint32_t p[S::kRowTiles][kKeys / 16][4];
    if (takes_part) {
      float scores[S::kRowTiles][kKeys / 8][4];
      state.scores_of(scores, warp_queries, query_lanes, keys, key_lanes);
      if (last_key > warp_first || (args.window != 0 && first_key <= warp_last - args.window)) {
#pragma unroll
        for (int tile = 0; tile < S::kRowTiles; ++tile) {
          mask_scores(scores[tile], warp_first + tile * 16, first_key, args.window, lane);
        }
      }
      state.normalise(p, scores, scale_log2);
    }
    ptx::cp_async_wait<0>();
    __syncthreads();  // the values are there, and everyone is done with the keys
    if (page + 1 < page_end) copy_page_async(keys, args.keys, page + 1);
    if (takes_part) state.accumulate(p, values, value_lanes);
  }

#pragma unroll
  for (int tile = 0; tile < S::kRowTiles; ++tile) {
#pragma unroll
    for (int half_row = 0; half_row < 2; ++half_row) {
      const float total = state.softmax[tile].total(half_row);
      const int row = warp_row + tile * 16 + half_row * 8 + lane / 4;
      if (row >= rows) continue;
      const float inverse = 1.0f / total;
      T* output = static_cast<T*>(args.output) + first_element + row * row_stride + lane % 4 * 2;
#pragma unroll
      for (int block = 0; block < kDim / 8; ++block) {
        if (block * 8 >= head_dim) break;
        const float* pair = state.output[tile][block] + half_row * 2;
        *reinterpret_cast<element_pair<T>*>(output + block * 8) =
            from_float2<T>(pair[0] * inverse, pair[1] * inverse);
      }
    }
  }
}

}  // namespace

cudaError_t attention_prefill(const AttentionArgs& args, cudaStream_t stream) {
  return dispatch_16bit(args.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return dispatch_head_dim(args.head_dim, [&](auto padded, auto exact) {
      constexpr int kDim = decltype(padded)::value;
      constexpr bool kExact = decltype(exact)::value;
      using S = Shape<kDim, kExact>;
      const int blocks = (args.max_new_tokens + S::kRows - 1) / S::kRows;
      return launch(attention_prefill_kernel<T, kDim, kExact>,
                    LaunchConfig{.grid = dim3(blocks, args.num_heads, args.num_sequences),
                                 .block = dim3(kThreads),
                                 .dynamic_shared_bytes = S::kSharedBytes,
                                 .stream = stream,
                                 .programmatic_dependent_launch = true},
                    args);
    });
  });
}

}  // namespace komt::kernels
