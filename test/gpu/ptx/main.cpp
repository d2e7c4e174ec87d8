// Writes the answers of every PTX wrapper to a file, or compares them with a file's.
//   komt_ptx_conformance --write FILE | --compare FILE
#include <bit>
#include <cmath>
#include <cstdio>
#include <exception>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "common/platform.cuh"
#include "conformance.h"

namespace komt::conformance {
namespace {

constexpr std::uint64_t kSeeds[] = {1, 2, 3, 4};

std::string file_text() {
  std::ostringstream text;
  for (const std::uint64_t seed : kSeeds) {
    for (const Answer& answer : run_all(seed)) {
      text << answer.wrapper << '\n' << answer.words.size();
      for (const std::uint32_t word : answer.words) text << ' ' << word;
      text << '\n';
    }
  }
  return text.str();
}

bool matches(Match match, std::uint32_t actual, std::uint32_t expected) {
  if (actual == expected) return true;
  const double a = double(std::bit_cast<float>(actual));
  const double e = double(std::bit_cast<float>(expected));
  switch (match) {
    case Match::bits: return false;
    // Sums of 17 terms of about one: the last bits of the largest partial sum.
    case Match::products: return std::abs(a - e) <= 2e-5;
    // Both round the exact value with at most this error.
    case Match::approximate: return std::abs(a - e) <= 2 * 0x1p-22 * std::abs(e);
  }
  return false;
}

// Number of wrappers that differ, over all seeds.
int compare(std::istream& file) {
  int passed = 0;
  int failed = 0;
  for (const std::uint64_t seed : kSeeds) {
    for (const Answer& answer : run_all(seed)) {
      std::string wrapper;
      std::size_t count = 0;
      std::getline(file >> std::ws, wrapper);
      file >> count;
      const bool skipped = answer.words.empty();
      bool ok = bool(file) && wrapper == answer.wrapper && (skipped || count == answer.words.size());
      if (!ok) std::printf("FAIL %s: the file has '%s'\n", answer.wrapper.c_str(), wrapper.c_str());
      for (std::size_t i = 0; i < count && file; ++i) {
        std::uint32_t expected = 0;
        file >> expected;
        if (!ok || skipped || matches(answer.match, answer.words[i], expected)) continue;
        std::printf("FAIL %s, seed %llu, word %zu: 0x%08x (%g), expected 0x%08x (%g)\n",
                    answer.wrapper.c_str(), static_cast<unsigned long long>(seed), i,
                    answer.words[i], double(std::bit_cast<float>(answer.words[i])), expected,
                    double(std::bit_cast<float>(expected)));
        ok = false;
      }
      if (skipped) std::printf("skipped %s: the device doesn't have it\n", answer.wrapper.c_str());
      if (!skipped || !ok) ++(ok ? passed : failed);
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}

int run(std::string_view mode, const char* path) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no CUDA device: skipped\n");
    return 0;
  }
  try {
    if (mode == "--write") {
      std::ofstream file(path);
      file << file_text();
      return file ? 0 : 1;
    }
    std::ifstream file(path);
    return compare(file);
  } catch (const std::exception& error) {
    std::printf("FAIL %s\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace komt::conformance

int main(int argc, char** argv) {
  const std::string_view mode = argc == 3 ? argv[1] : "";
  if (mode != "--write" && mode != "--compare") {
    std::fprintf(stderr, "usage: %s --write FILE | --compare FILE\n", argv[0]);
    return 2;
  }
  return komt::conformance::run(mode, argv[2]);
}
