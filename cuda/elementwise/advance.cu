// The step from one decode step to the next, on the device, so that a captured graph can be replayed
// without the host touching its inputs. A few hundred bytes: its time is its launch.
#include "elementwise/advance.h"

#include "common/launch.cuh"
#include "ptx/fence.cuh"
#include "ptx/grid_dependency.cuh"

namespace komt::kernels {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads, 1) advance_step_kernel(AdvanceArgs args) {
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const std::uint32_t step = args.ring ? *args.ring_next : 0;
  for (int row = threadIdx.x; row < args.rows; row += kThreads) {
    const std::int32_t token = args.sampled ? args.sampled[row] : 0;
    // A step behind a choice that failed is thrown away, but must stay inside the embedding.
    if (args.sampled && args.tokens) args.tokens[row] = max(token, 0);
    if (args.positions) ++args.positions[row];
    if (args.rope_rows) ++args.rope_rows[row];
    if (args.kv_lengths) ++args.kv_lengths[row];
    if (args.steps) ++args.steps[row];
    if (args.ring) {
      args.ring[static_cast<std::size_t>(step % args.ring_slots) * args.rows + row] = token;
    }
  }
  if (args.ring) {
    // The host may see the count only after every thread's ids: each makes its own visible, the
    // barrier collects them, and one thread publishes.
    __threadfence_system();
    __syncthreads();
    if (threadIdx.x == 0) {
      *args.ring_next = step + 1;
      ptx::store_release_system(args.ring_count, step + 1);
    }
  }
}

}  // namespace

cudaError_t advance_step(const AdvanceArgs& args, cudaStream_t stream) {
  if (args.rows < 0) return cudaErrorInvalidValue;
  if (args.ring != nullptr && (args.sampled == nullptr || args.ring_slots < 1 ||
                               args.ring_count == nullptr || args.ring_next == nullptr)) {
    return cudaErrorInvalidValue;
  }
  if (args.rows == 0) return cudaSuccess;
  return launch(advance_step_kernel,
                LaunchConfig{.grid = dim3(1),
                             .block = dim3(kThreads),
                             .stream = stream,
                             .programmatic_dependent_launch = true},
                args);
}

}  // namespace komt::kernels
