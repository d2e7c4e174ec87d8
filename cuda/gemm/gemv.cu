#include "gemm/gemv_kernel.cuh"

namespace komt::kernels {

bool gemv_takes(int k) {
  // What a block may have on every architecture from sm_80 (99 KiB on sm_86, 89 and 120), less the
  // static part of 9 KiB.
  constexpr std::size_t kSharedBytes = 88 * 1024;
  return static_cast<std::size_t>(gemv_detail::padded_k(k)) * sizeof(half) <= kSharedBytes;
}

cudaError_t launch_gemv_f16(const GemvParams& params, bool overlap, cudaStream_t stream) {
  return launch_gemv<half>(params, overlap, stream);
}

cudaError_t launch_gemv_bf16(const GemvParams& params, bool overlap, cudaStream_t stream) {
  return launch_gemv<bfloat16>(params, overlap, stream);
}

}  // namespace komt::kernels
