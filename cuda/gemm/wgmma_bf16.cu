#include "gemm/wgmma_kernel.cuh"

namespace komt::kernels {

cudaError_t launch_wgmma_bf16(TileId tile, const GemmParams& params, bool overlap, cudaStream_t stream) {
  return launch_wgmma<bfloat16>(tile, params, overlap, stream);
}

}  // namespace komt::kernels
