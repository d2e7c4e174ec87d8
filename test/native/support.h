#pragma once
// Data and layouts that the tests of the CPU backend share.
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/cpu_info.h"
#include "backends/cpu/kernels.h"
#include "check.h"

namespace komt::test {

inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// Instruction sets of this machine; the case's report names those it lacks.
inline std::vector<std::string> instruction_sets() {
  std::vector<std::string> sets = {"generic"};
  std::string missing;
  cpu::has_avx2() ? sets.push_back("avx2") : void(missing += "avx2 (not in this processor) ");
  cpu::has_avx512() ? sets.push_back("avx512") : void(missing += "avx512 (not in this processor)");
  outcome().skipped = missing;
  return sets;
}

inline const cpu::Kernels& kernels_of(const std::string& isa) {
  return isa == "avx512" ? *cpu::avx512_kernels()
         : isa == "avx2" ? *cpu::avx2_kernels()
                         : *cpu::generic_kernels();
}

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  std::vector<float> normal(size_t count, float scale = 1) {
    std::normal_distribution<float> distribution(0, scale);
    std::vector<float> v(count);
    for (float& x : v) x = distribution(engine_);
    return v;
  }
  int integer(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine_); }
  double uniform() { return std::uniform_real_distribution<double>(0, 1)(engine_); }
  std::mt19937& engine() { return engine_; }

 private:
  std::mt19937 engine_;
};

/// The value that a weight of this type stores for x.
inline float rounded(float x, DType dtype) {
  if (dtype == DType::f16) return half_to_float(float_to_half(x));
  if (dtype == DType::bf16) return bfloat16_to_float(float_to_bfloat16(x));
  return x;
}

inline Tensor tensor(std::vector<float>& data, int64_t rows, int64_t cols) {
  return {data.data(), DType::f32, rows, cols};
}

/// As WeightWriter::store_rows, from memory that is filled already.
inline void store_rows(Backend& backend, Weight& weight, int64_t first, int64_t step,
                       const void* source, DType dtype, int64_t count) {
  const size_t bytes = size_t(count * weight.cols()) * size_of(dtype);
  const auto writer = backend.open_writer();
  std::memcpy(writer->reserve(bytes), source, bytes);
  writer->store_rows(weight, first, step, dtype, count);
  writer->finish();
}

inline std::unique_ptr<Weight> make_weight(Backend& backend, DType dtype, int64_t rows,
                                           int64_t cols, const std::vector<float>& data) {
  auto weight = backend.create_weight(dtype, rows, cols, "a test's weight");
  store_rows(backend, *weight, 0, 1, data.data(), DType::f32, rows);
  return weight;
}

/// New tokens of some sequences, with pages dealt out in random order.
struct BatchData {
  /// One sequence: tokens that the cache held before, and new ones.
  struct Sequence {
    int past;
    int added;
  };

  BatchData(const std::vector<Sequence>& sequences, Random& random, int rope_shift = 0) {
    int longest = 0, total_pages = 0;
    for (const Sequence& s : sequences) {
      longest = std::max(longest, s.past + s.added);
      total_pages += pages_of(s);
    }
    stride = (longest + kKvBlockTokens - 1) / kKvBlockTokens + 1;
    num_pages = total_pages + 2;
    std::vector<int32_t> pages(size_t(num_pages), 0);
    for (int i = 0; i < num_pages; ++i) pages[size_t(i)] = i;
    std::shuffle(pages.begin(), pages.end(), random.engine());
    cu_seqlens.push_back(0);
    block_table.assign(sequences.size() * size_t(stride), -1);
    int next = 0;
    for (size_t s = 0; s < sequences.size(); ++s) {
      const int length = sequences[s].past + sequences[s].added;
      for (int p = 0; p < pages_of(sequences[s]); ++p)
        block_table[s * size_t(stride) + size_t(p)] = pages[size_t(next++)];
      for (int i = sequences[s].past; i < length; ++i) {
        positions.push_back(i);
        rope_rows.push_back(i + rope_shift);
        sequence_ids.push_back(int32_t(s));
      }
      kv_lengths.push_back(length);
      cu_seqlens.push_back(int32_t(positions.size()));
      most_new = std::max(most_new, sequences[s].added);
    }
    longest_cache = longest;
  }

  static int pages_of(const Sequence& s) {
    return (s.past + s.added + kKvBlockTokens - 1) / kKvBlockTokens;
  }

  Batch view() {
    Batch b;
    b.num_tokens = int(positions.size());
    b.num_sequences = int(kv_lengths.size());
    b.max_new_tokens = most_new;
    b.max_kv_length = longest_cache;
    b.block_table_stride = stride;
    b.tokens = tokens.empty() ? nullptr : tokens.data();
    b.positions = positions.data();
    b.rope_rows = rope_rows.data();
    b.sequence_ids = sequence_ids.data();
    b.cu_seqlens = cu_seqlens.data();
    b.kv_lengths = kv_lengths.data();
    b.block_table = block_table.data();
    return b;
  }

  /// Tokens [begin, end) of one sequence as a batch of their own, over the same pages.
  BatchData part(int sequence, int begin, int end) const {
    BatchData p = *this;
    const auto cut = [&](const std::vector<int32_t>& v) {
      const int first = cu_seqlens[size_t(sequence)];
      return std::vector<int32_t>(v.begin() + first + begin, v.begin() + first + end);
    };
    p.positions = cut(positions);
    p.rope_rows = cut(rope_rows);
    p.sequence_ids.assign(size_t(end - begin), 0);
    p.cu_seqlens = {0, end - begin};
    p.kv_lengths = {p.positions.back() + 1};
    p.block_table.assign(block_table.begin() + sequence * stride,
                         block_table.begin() + (sequence + 1) * stride);
    p.most_new = end - begin;
    p.longest_cache = p.kv_lengths[0];
    return p;
  }

  /// Index in a [pages, heads, 64, head_dim] cache.
  size_t cache_index(int sequence, int position, int head, int heads, int head_dim) const {
    const int page = block_table[size_t(sequence * stride + position / kKvBlockTokens)];
    return size_t(((page * heads + head) * kKvBlockTokens + position % kKvBlockTokens) * head_dim);
  }
  size_t cache_size(int heads, int head_dim) const {
    return size_t(num_pages * heads * kKvBlockTokens * head_dim);
  }

  int stride = 0, num_pages = 0, most_new = 0, longest_cache = 0;
  std::vector<int32_t> tokens, positions, rope_rows, sequence_ids, cu_seqlens, kv_lengths,
      block_table;
};

}  // namespace komt::test
