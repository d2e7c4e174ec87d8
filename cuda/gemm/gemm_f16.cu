#include "gemm/gemm_kernel.cuh"

namespace komt::kernels {

cudaError_t launch_gemm_f16(TileId tile, GemmParams params, bool overlap, cudaStream_t stream) {
  if (uses_wgmma(tile)) return launch_wgmma_f16(tile, params, overlap, stream);
  return launch_gemm<half>(tile, params, overlap, stream);
}

}  // namespace komt::kernels
