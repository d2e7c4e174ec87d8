// The tensor-core kernel as linear() calls it.
#pragma once

#include "gemm/epilogue.h"
#include "gemm/tile.h"

namespace komt::kernels {

struct GemmParams {
  const void* a;  // activations [m, k]
  const void* b;  // weight [n, k]
  int m;
  int n;
  int k;
  int tiles_m;
  int tiles_n;
  EpilogueParams epilogue;
};

// Fills in tiles_m and tiles_n. Any tile computes any shape.
cudaError_t launch_gemm_f16(TileId tile, GemmParams params, bool overlap, cudaStream_t stream);
cudaError_t launch_gemm_bf16(TileId tile, GemmParams params, bool overlap, cudaStream_t stream);
// For the tiles of wgmma.
cudaError_t launch_wgmma_f16(TileId tile, const GemmParams& params, bool overlap, cudaStream_t stream);
cudaError_t launch_wgmma_bf16(TileId tile, const GemmParams& params, bool overlap,
                              cudaStream_t stream);
// Whether the current device has wgmma and this library was built for it: for sm_90a.
cudaError_t wgmma_available(bool* available);

}  // namespace komt::kernels
