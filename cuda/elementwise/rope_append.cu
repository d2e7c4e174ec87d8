// RoPE and the append to the paged cache, for the projections that don't do it in their epilogue.
//
// Moves sizeof(In) + sizeof(T) bytes per element of q, k and v, 3 FLOP each; the tables stay in L2.
// 2,048 tokens, fp16 in and out: 7B (3 x 4,096) 101 MB, 23 us on an H200; 13B (3 x 5,120) 126 MB,
// 29 us. A thread takes two neighbouring rotations (4 elements), so a warp reads and writes 128
// contiguous bytes of each half; a block of 256 threads goes around 7.5 times for 13B, with 8 blocks
// on an SM 16 KB in flight. One decode token is 60 KB: latency only.
#include "elementwise/rope_append.h"

#include "common/dispatch.cuh"
#include "common/kv_page.h"
#include "common/launch.cuh"
#include "elementwise/quad.cuh"
#include "ptx/grid_dependency.cuh"

namespace komt::kernels {
namespace {

constexpr int kThreads = 256;

template <class In, class T>
__global__ void __launch_bounds__(kThreads) rope_append_kernel(RopeAppendArgs args) {
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const int token = blockIdx.x;
  const int half_dim = args.head_dim / 2;
  const int items_per_head = half_dim / 2;
  const int heads = args.num_heads + 2 * args.num_kv_heads;

  const int position = args.positions[token];
  const int page = args.block_table[static_cast<std::size_t>(args.sequence_ids[token]) *
                                        args.block_table_stride +
                                    position / kPageTokens];
  const std::size_t table_row = static_cast<std::size_t>(args.rope_rows[token]) * half_dim;
  const In* source =
      static_cast<const In*>(args.qkv) + static_cast<std::size_t>(token) * heads * args.head_dim;

  for (int item = threadIdx.x; item < heads * items_per_head; item += kThreads) {
    const int head = item / items_per_head;
    const int column = item % items_per_head * 2;
    const In* x = source + head * args.head_dim + column;
    float2 first = to_float2(*reinterpret_cast<const element_pair<In>*>(x));
    float2 second = to_float2(*reinterpret_cast<const element_pair<In>*>(x + half_dim));

    const int kv_head = (head - args.num_heads) % args.num_kv_heads;
    const bool is_value = head >= args.num_heads + args.num_kv_heads;
    if (!is_value) {
      const float2 c = *reinterpret_cast<const float2*>(args.cos + table_row + column);
      const float2 s = *reinterpret_cast<const float2*>(args.sin + table_row + column);
      const float2 a = first;
      const float2 b = second;
      first = make_float2(a.x * c.x - b.x * s.x, a.y * c.y - b.y * s.y);
      second = make_float2(b.x * c.x + a.x * s.x, b.y * c.y + a.y * s.y);
    }

    T* target;
    if (head < args.num_heads) {
      target = static_cast<T*>(args.query) +
               (static_cast<std::size_t>(token) * args.num_heads + head) * args.head_dim;
    } else {
      const std::size_t row =
          (static_cast<std::size_t>(page) * args.num_kv_heads + kv_head) * kPageTokens +
          position % kPageTokens;
      target = static_cast<T*>(is_value ? args.values : args.keys) + row * args.head_dim;
    }
    using Pair = element_pair<T>;
    *reinterpret_cast<Pair*>(target + column) = from_float2<T>(first.x, first.y);
    *reinterpret_cast<Pair*>(target + column + half_dim) = from_float2<T>(second.x, second.y);
  }
}

}  // namespace

cudaError_t rope_append(const RopeAppendArgs& args, cudaStream_t stream) {
  if (args.head_dim < 4 || args.head_dim % 4 != 0 || args.num_tokens < 0 || args.num_heads < 1 ||
      args.num_kv_heads < 1 ||
      (args.qkv_type != ElementType::f32 && args.qkv_type != args.type)) {
    return cudaErrorInvalidValue;
  }
  if (args.num_tokens == 0) return cudaSuccess;
  const LaunchConfig config{.grid = dim3(args.num_tokens),
                            .block = dim3(kThreads),
                            .stream = stream,
                            .programmatic_dependent_launch = true};
  return dispatch_16bit(args.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return args.qkv_type == ElementType::f32 ? launch(rope_append_kernel<float, T>, config, args)
                                             : launch(rope_append_kernel<T, T>, config, args);
  });
}

}  // namespace komt::kernels
