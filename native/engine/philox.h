#pragma once
#include <array>
#include <cstdint>

namespace komt {

/// Philox4x32 with 10 rounds: a random function of counter and key (Salmon et al., "Parallel random
/// numbers: as easy as 1, 2, 3", SC 2011). Checked against Random123's known answers.
constexpr std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter,
                                             std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t(0xD2511F53u) * counter[0];
    const uint64_t b = uint64_t(0xCD9E8D57u) * counter[2];
    counter = {uint32_t(b >> 32) ^ counter[1] ^ key[0], uint32_t(b),
               uint32_t(a >> 32) ^ counter[3] ^ key[1], uint32_t(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// The uniform number in [0, 1) of one step of one sequence: 53 bits, exact in double.
constexpr double philox_uniform(uint64_t seed, uint64_t stream_hash, uint32_t lane, uint32_t step) {
  const auto out = philox4x32({step, lane, uint32_t(stream_hash), uint32_t(stream_hash >> 32)},
                              {uint32_t(seed), uint32_t(seed >> 32)});
  return double((uint64_t(out[0]) << 32 | out[1]) >> 11) * 0x1p-53;
}

}  // namespace komt
