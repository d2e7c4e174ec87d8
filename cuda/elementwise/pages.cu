// Copies of whole cache pages: copy-on-write of a shared prefix's last page, beams, swapping out.
//
// Moves 2 bytes per byte copied. A page of keys and values is 1.05 MB a layer for 7B (fp16, 32 heads)
// and 1.31 MB for 13B: 0.49 and 0.61 us on an H200 at 4.3 TB/s, so a copy is a launch. A block copies
// 16 KB with 4 x 16 bytes per thread in flight, 128 KB per SM at full occupancy.
#include "common/launch.cuh"
#include "common/vector_io.cuh"
#include "elementwise/pages.h"
#include "ptx/grid_dependency.cuh"

namespace komt::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 4;
constexpr std::size_t kBlockBytes = std::size_t{kThreads} * kVectors * 16;

__global__ void __launch_bounds__(kThreads) copy_pages_kernel(CopyPagesArgs args) {
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const unsigned blocks_per_page =
      static_cast<unsigned>((args.page_bytes + kBlockBytes - 1) / kBlockBytes);
  const std::size_t index = blockIdx.x / blocks_per_page;
  const std::size_t entry = index * args.index_stride;
  const std::size_t source_page = args.source_pages ? args.source_pages[entry] : index;
  const std::size_t target_page = args.target_pages ? args.target_pages[entry] : index;
  const bool is_value = blockIdx.y == 1;
  const auto* source =
      static_cast<const unsigned char*>(is_value ? args.source_values : args.source_keys) +
      source_page * args.page_bytes;
  auto* target = static_cast<unsigned char*>(is_value ? args.target_values : args.target_keys) +
                 target_page * args.page_bytes;

  const std::size_t begin =
      blockIdx.x % blocks_per_page * kBlockBytes + std::size_t{threadIdx.x} * 16;
  Vector128<unsigned char> bytes[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const std::size_t at = begin + std::size_t{kThreads} * 16 * i;
    if (at < args.page_bytes) bytes[i] = load128(source + at);
  }
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const std::size_t at = begin + std::size_t{kThreads} * 16 * i;
    if (at < args.page_bytes) store128(target + at, bytes[i]);
  }
}

}  // namespace

cudaError_t copy_pages(const CopyPagesArgs& args, cudaStream_t stream) {
  if (args.page_bytes == 0 || args.page_bytes % 16 != 0 || args.count < 0) {
    return cudaErrorInvalidValue;
  }
  if (args.count == 0) return cudaSuccess;
  const std::size_t blocks_per_page = (args.page_bytes + kBlockBytes - 1) / kBlockBytes;
  return launch(copy_pages_kernel,
                LaunchConfig{.grid = dim3(static_cast<unsigned>(blocks_per_page * args.count), 2),
                             .block = dim3(kThreads),
                             .stream = stream,
                             .programmatic_dependent_launch = true},
                args);
}

}  // namespace komt::kernels
