#include "gemm/linear.h"

#include "common/launch.cuh"
#include "gemm/gemm.h"
#include "gemm/gemv.h"

namespace komt::kernels {

namespace {

bool aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; }

bool valid_output(const LinearArgs& args) {
  switch (args.epilogue) {
    case LinearEpilogue::store:
      return args.output_type == ElementType::f32 || args.output_type == args.type;
    case LinearEpilogue::residual_add: return args.output_type == ElementType::f32;
    case LinearEpilogue::silu_gate: return args.output_type == args.type && args.n % 2 == 0;
    case LinearEpilogue::rope_append: {
      const RopeAppend& r = args.rope;
      return args.output_type == args.type && r.head_dim > 0 && r.head_dim % 8 == 0 &&
             r.num_heads > 0 && r.num_kv_heads > 0 &&
             std::int64_t(r.num_heads + 2 * r.num_kv_heads) * r.head_dim == args.n &&
             r.positions != nullptr && r.rope_rows != nullptr && r.sequence_ids != nullptr &&
             r.block_table != nullptr && r.cos != nullptr && r.sin != nullptr &&
             r.keys != nullptr && r.values != nullptr && aligned(r.cos) && aligned(r.sin) &&
             aligned(r.keys) && aligned(r.values);
    }
  }
  return false;
}

bool valid(const LinearArgs& args) {
  // The tensor-core kernel counts 16-byte chunks of an operand in 32 bits.
  constexpr std::int64_t kMaxOperand = std::int64_t{1} << 34;
  return (args.type == ElementType::f16 || args.type == ElementType::bf16) && args.rows >= 0 &&
         args.n >= 1 && args.k >= 8 && args.k % 8 == 0 &&
         std::int64_t(args.n) * args.k < kMaxOperand &&
         std::int64_t(args.rows) * args.k < kMaxOperand && args.input != nullptr &&
         args.weight != nullptr && args.output != nullptr && aligned(args.input) &&
         aligned(args.weight) && aligned(args.output) && aligned(args.norm_weight) &&
         valid_output(args);
}

bool one_row_kernel(const LinearArgs& args) {
  return args.rows == 1 && !args.batch_invariant && gemv_takes(args.k);
}

}  // namespace

bool linear_fuses_norm(const LinearArgs& args) { return one_row_kernel(args); }

cudaError_t linear(const LinearArgs& args, cudaStream_t stream) {
  if (!valid(args)) return cudaErrorInvalidValue;
  if (args.norm_weight != nullptr && !linear_fuses_norm(args)) return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;

  EpilogueParams epilogue{};
  epilogue.kind = args.epilogue;
  epilogue.float_output = args.output_type == ElementType::f32;
  epilogue.rows = args.rows;
  epilogue.n = args.n;
  epilogue.bias = args.bias;
  epilogue.output = args.output;
  epilogue.rope = args.rope;

  const bool overlap = args.programmatic_dependent_launch;
  if (one_row_kernel(args)) {
    const GemvParams params{args.input,       args.weight,   args.n,  args.k,
                            args.norm_weight, args.norm_eps, epilogue};
    return args.type == ElementType::f16 ? launch_gemv_f16(params, overlap, stream)
                                         : launch_gemv_bf16(params, overlap, stream);
  }

  int sm_count = 0;
  if (cudaError_t error = device_attribute(&sm_count, cudaDevAttrMultiProcessorCount);
      error != cudaSuccess) {
    return error;
  }
  bool wgmma = false;
  if (cudaError_t error = wgmma_available(&wgmma); error != cudaSuccess) return error;
  const TileId tile = select_tile(args.rows, args.n, args.k, sm_count, wgmma);
  const GemmParams params{args.input, args.weight, args.rows, args.n, args.k, 0, 0, epilogue};
  return args.type == ElementType::f16 ? launch_gemm_f16(tile, params, overlap, stream)
                                       : launch_gemm_bf16(tile, params, overlap, stream);
}

}  // namespace komt::kernels
