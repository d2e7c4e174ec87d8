// Conversion of element types on the way into a weight, with the placement of rows.
//
// Moves the source's and the target's bytes once. Loading 13B from float32 is 52 GB in and 26 GB out:
// 18 ms of an H200's memory all in all, where the same bytes take about a second over PCIe 5 (55 GB/s).
// So the kernel only has to stay out of the copy engine's way; four elements per access and thread
// when source and target are aligned for it, one otherwise.
#include "elementwise/convert.h"

#include <algorithm>

#include "common/dispatch.cuh"
#include "common/launch.cuh"
#include "elementwise/quad.cuh"

namespace komt::kernels {
namespace {

constexpr int kThreads = 256;
// The largest gridDim.y; further rows go around.
constexpr std::int64_t kMaxGridRows = 65535;

__device__ __forceinline__ float to_float(double x) { return static_cast<float>(x); }
using komt::to_float;

template <class S, class T, bool kByQuads>
__global__ void __launch_bounds__(kThreads) convert_rows_kernel(ConvertRowsArgs args) {
  const std::int64_t column =
      (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * (kByQuads ? 4 : 1);
  if (column >= args.cols) return;
  for (std::int64_t row = blockIdx.y; row < args.count; row += gridDim.y) {
    const S* source = static_cast<const S*>(args.source) + row * args.source_row_stride +
                      column * args.source_column_stride;
    T* target = static_cast<T*>(args.target) + (args.first + row * args.step) * args.cols + column;
    if constexpr (kByQuads) {
      store_quad(target, load_quad(source));
    } else {
      *target = from_float<T>(to_float(*source));
    }
  }
}

template <class S, class T>
cudaError_t launch_for(const ConvertRowsArgs& args, cudaStream_t stream) {
  const bool by_quads = sizeof(S) <= 4 && args.cols % 4 == 0 && args.source_column_stride == 1 &&
                        args.source_row_stride % 4 == 0 &&
                        reinterpret_cast<std::uintptr_t>(args.source) % (4 * sizeof(S)) == 0;
  const std::int64_t block_columns = kThreads * (by_quads ? 4 : 1);
  const LaunchConfig config{
      .grid = dim3(static_cast<unsigned>((args.cols + block_columns - 1) / block_columns),
                   static_cast<unsigned>(std::min(args.count, kMaxGridRows))),
      .block = dim3(kThreads),
      .stream = stream};
  if constexpr (sizeof(S) <= 4) {
    if (by_quads) return launch(convert_rows_kernel<S, T, true>, config, args);
  }
  return launch(convert_rows_kernel<S, T, false>, config, args);
}

}  // namespace

cudaError_t convert_rows(const ConvertRowsArgs& args, cudaStream_t stream) {
  if (args.count < 0 || args.cols < 1 || args.first < 0 || args.step < 1) {
    return cudaErrorInvalidValue;
  }
  if (args.count == 0) return cudaSuccess;
  return dispatch_float(args.target_type, [&](auto target_tag) {
    using T = typename decltype(target_tag)::type;
    if (args.source_type == ElementType::f64) return launch_for<double, T>(args, stream);
    return dispatch_float(args.source_type, [&](auto source_tag) {
      return launch_for<typename decltype(source_tag)::type, T>(args, stream);
    });
  });
}

}  // namespace komt::kernels
