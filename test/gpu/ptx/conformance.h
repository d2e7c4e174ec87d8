// What each PTX wrapper of cuda/ptx/ does with random fragments: run once on the emulator and once on
// a device, the answers are compared.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace komt::conformance {

// How a device's answer may differ from the emulator's.
enum class Match {
  bits,        // not at all
  products,    // float sums of 16 products: tensor cores align and truncate where the emulator rounds
  approximate  // 2^-22 of the value, as the ISA says of ex2.approx
};

struct Answer {
  std::string wrapper;
  Match match;
  std::vector<std::uint32_t> words;  // none where the device doesn't have the instruction
};

// One answer for each wrapper, inputs drawn from `seed`. Throws std::runtime_error with what the CUDA
// runtime says.
std::vector<Answer> run_all(std::uint64_t seed);

}  // namespace komt::conformance
