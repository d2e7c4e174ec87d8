// RMSNorm of the float32 residual stream, one block per row.
//
// Moves 4 bytes in and sizeof(T) out per element, the weight from L2; 3 FLOP per element. On an H200
// (4.3 TB/s), fp16 out: 2,048 rows of 4,096 (7B) are 50 MB, 11.7 us; of 5,120 (13B) 63 MB, 14.6 us.
// One decode row is 30 KB: all latency. So a row is read once, into registers, with every load of a
// thread issued before the first is used (5 x 16 bytes x 256 threads = 20 KB in flight per block for
// 5,120; at 40 registers six blocks live on an SM). The order of summation depends on `hidden` alone.
#include "elementwise/rms_norm.h"

#include "common/dispatch.cuh"
#include "common/launch.cuh"
#include "common/reduce.cuh"
#include "elementwise/quad.cuh"
#include "ptx/grid_dependency.cuh"

namespace komt::kernels {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float inverse_rms(float sum_of_squares, int hidden, float eps) {
  return 1.0f / sqrtf(sum_of_squares / static_cast<float>(hidden) + eps);
}

// Rows of up to 4 * kThreads * kQuads elements, a multiple of 4, held in registers.
template <class T, int kQuads>
__global__ void __launch_bounds__(kThreads) rms_norm_kernel(RmsNormArgs args) {
  KOMT_SHARED(float, scratch, [kThreads / 32]);
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const int quads = args.hidden / 4;
  const float* input = args.input + static_cast<std::size_t>(blockIdx.x) * args.hidden;
  T* output = static_cast<T*>(args.output) + static_cast<std::size_t>(blockIdx.x) * args.hidden;

  Quad x[kQuads];
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    const int quad = threadIdx.x + i * kThreads;
    x[i] = quad < quads ? load_quad(input + quad * 4) : Quad{};
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += x[i][j] * x[i][j];
  }
  const float scale = inverse_rms(block_sum<kThreads>(sum, scratch), args.hidden, args.eps);
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    const int quad = threadIdx.x + i * kThreads;
    if (quad < quads) {
      const Quad weight = load_quad(args.weight + quad * 4);
      Quad y;
#pragma unroll
      for (int j = 0; j < 4; ++j) y[j] = x[i][j] * scale * weight[j];
      store_quad(output + quad * 4, y);
    }
  }
}

// Rows of any length, read twice (the second time from L1 or L2).
template <class T>
__global__ void __launch_bounds__(kThreads) rms_norm_any_kernel(RmsNormArgs args) {
  KOMT_SHARED(float, scratch, [kThreads / 32]);
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const float* input = args.input + static_cast<std::size_t>(blockIdx.x) * args.hidden;
  T* output = static_cast<T*>(args.output) + static_cast<std::size_t>(blockIdx.x) * args.hidden;
  float sum = 0;
  for (int i = threadIdx.x; i < args.hidden; i += kThreads) sum += input[i] * input[i];
  const float scale = inverse_rms(block_sum<kThreads>(sum, scratch), args.hidden, args.eps);
  for (int i = threadIdx.x; i < args.hidden; i += kThreads) {
    output[i] = from_float<T>(input[i] * scale * args.weight[i]);
  }
}

template <class T>
cudaError_t launch_for(const RmsNormArgs& args, cudaStream_t stream) {
  const LaunchConfig config{.grid = dim3(args.rows),
                            .block = dim3(kThreads),
                            .stream = stream,
                            .programmatic_dependent_launch = true};
  const int quads_per_thread = (args.hidden + 4 * kThreads - 1) / (4 * kThreads);
  if (args.hidden % 4 != 0 || quads_per_thread > 16) {
    return launch(rms_norm_any_kernel<T>, config, args);
  }
  if (quads_per_thread <= 2) return launch(rms_norm_kernel<T, 2>, config, args);
  if (quads_per_thread <= 5) return launch(rms_norm_kernel<T, 5>, config, args);
  if (quads_per_thread <= 8) return launch(rms_norm_kernel<T, 8>, config, args);
  return launch(rms_norm_kernel<T, 16>, config, args);
}

}  // namespace

cudaError_t rms_norm(const RmsNormArgs& args, cudaStream_t stream) {
  if (args.hidden < 1 || args.rows < 0) return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;
  return dispatch_float(args.output_type, [&](auto tag) {
    return launch_for<typename decltype(tag)::type>(args, stream);
  });
}

}  // namespace komt::kernels
