// Philox4x32 with 10 rounds, a random function of counter and key: Salmon et al., "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include "common/platform.cuh"

namespace komt::kernels {

__device__ __forceinline__ uint4 philox4x32(uint4 counter, uint2 key) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter.x;
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter.z;
    counter = make_uint4(static_cast<std::uint32_t>(b >> 32) ^ counter.y ^ key.x,
                         static_cast<std::uint32_t>(b),
                         static_cast<std::uint32_t>(a >> 32) ^ counter.w ^ key.y,
                         static_cast<std::uint32_t>(a));
    key.x += 0x9E3779B9u;
    key.y += 0xBB67AE85u;
  }
  return counter;
}

// In [0, 1), 53 bits, exact.
__device__ __forceinline__ double philox_uniform(std::uint64_t seed, std::uint64_t stream_hash,
                                                 std::uint32_t lane, std::uint32_t step) {
  const uint4 out =
      philox4x32(make_uint4(step, lane, static_cast<std::uint32_t>(stream_hash),
                            static_cast<std::uint32_t>(stream_hash >> 32)),
                 make_uint2(static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)));
  const std::uint64_t bits = (std::uint64_t{out.x} << 32 | out.y) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

}  // namespace komt::kernels
