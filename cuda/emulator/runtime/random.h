// The emulator's own randomness: small, seedable, the same on every platform.
#pragma once

#include <cstdint>

namespace komt::emulator {

// xorshift64* (Vigna, 2016).
class Random {
 public:
  void seed(std::uint64_t a, std::uint64_t b = 0, std::uint64_t c = 0) {
    state_ = mix(mix(mix(a + kStep) ^ b) ^ c) | 1;
  }

  std::uint32_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<std::uint32_t>(state_ * 0x2545f4914f6cdd1dull >> 32);
  }

  // In [0, bound).
  std::uint32_t below(std::uint32_t bound) {
    return static_cast<std::uint32_t>(static_cast<std::uint64_t>(next()) * bound >> 32);
  }

  bool one_in(std::uint32_t n) { return below(n) == 0; }

 private:
  static constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15ull;

  // splitmix64's finaliser.
  static std::uint64_t mix(std::uint64_t x) {
    x += kStep;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
  }

  std::uint64_t state_ = 1;
};

}  // namespace komt::emulator
