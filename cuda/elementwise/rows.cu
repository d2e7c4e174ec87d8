// Rows of a table picked by index: the embedding lookup, and the rows that go on to the lm_head.
//
// Moves sizeof(T) + 4 bytes per element: 2,048 tokens of 5,120 (13B, fp16) are 63 MB, 14.6 us on an
// H200; of 4,096 (7B) 11.7 us. One block per row and 2 KB of a row per loop; at 8 blocks to an SM,
// 16 KB and more are in flight.
#include "elementwise/rows.h"

#include "common/dispatch.cuh"
#include "common/launch.cuh"
#include "elementwise/quad.cuh"
#include "ptx/grid_dependency.cuh"

namespace komt::kernels {
namespace {

constexpr int kThreads = 256;

template <class T, bool kByQuads>
__global__ void __launch_bounds__(kThreads) gather_rows_kernel(GatherRowsArgs args) {
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const T* source =
      static_cast<const T*>(args.table) + static_cast<std::size_t>(args.rows[blockIdx.x]) * args.cols;
  float* target = args.output + static_cast<std::size_t>(blockIdx.x) * args.cols;
  if constexpr (kByQuads) {
    for (int i = threadIdx.x * 4; i < args.cols; i += kThreads * 4) {
      store_quad(target + i, load_quad(source + i));
    }
  } else {
    for (int i = threadIdx.x; i < args.cols; i += kThreads) target[i] = to_float(source[i]);
  }
}

}  // namespace

cudaError_t gather_rows(const GatherRowsArgs& args, cudaStream_t stream) {
  if (args.cols < 1 || args.count < 0) return cudaErrorInvalidValue;
  if (args.count == 0) return cudaSuccess;
  const LaunchConfig config{.grid = dim3(args.count),
                            .block = dim3(kThreads),
                            .stream = stream,
                            .programmatic_dependent_launch = true};
  return dispatch_float(args.table_type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return args.cols % 4 == 0 ? launch(gather_rows_kernel<T, true>, config, args)
                              : launch(gather_rows_kernel<T, false>, config, args);
  });
}

}  // namespace komt::kernels
