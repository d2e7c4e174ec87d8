#include "gemm/wgmma_kernel.cuh"

namespace komt::kernels {

cudaError_t launch_wgmma_f16(TileId tile, const GemmParams& params, bool overlap, cudaStream_t stream) {
  return launch_wgmma<half>(tile, params, overlap, stream);
}

// A kernel that was compiled for another architecture has an empty body, and one that multiplies holds a
// thread's share of the tile in registers.
cudaError_t wgmma_available(bool* available) {
  *available = false;
  PreparedKernel prepared;
  const auto kernel = wgmma_kernel<half, Wgmma128x256>;
  const cudaError_t error = prepared_kernel(reinterpret_cast<const void*>(kernel), &prepared);
  *available = error == cudaSuccess && prepared.registers >= Wgmma128x256::kBlockN / 2;
  return error;
}

}  // namespace komt::kernels
