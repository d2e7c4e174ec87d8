// Conversions, exponentials, norms and row operations.
#include <algorithm>
#include <bit>
#include <limits>

#include "support.h"

namespace komt::test {
namespace {

TEST("exp: within 2 ulp over all floats") {
  for (const std::string& isa : instruction_sets()) {
    std::vector<float> x, y;
    // A prime step through all bit patterns: every exponent, both signs, about 4 million values.
    for (uint64_t bits = 0; bits < (uint64_t(1) << 32); bits += 1021) {
      const float v = std::bit_cast<float>(uint32_t(bits));
      if (!std::isnan(v)) x.push_back(v);
    }
    for (const float v : {0.0f, -0.0f, 88.72283f, 88.7229f, -87.3365f, -103.97f, -104.0f}) x.push_back(v);
    y.assign(x.size(), kNaN);
    kernels_of(isa).exp(x.data(), int64_t(x.size()), y.data());
    double worst = 0;
    float at = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = std::exp(double(x[i]));
      if (expected > double(std::numeric_limits<float>::max())) {
        if (!(y[i] > 3.4e38f)) worst = 1e9, at = x[i];
        continue;
      }
      const float nearest = float(expected);
      const double ulp = double(std::nextafter(nearest, std::numeric_limits<float>::infinity())) - double(nearest);
      const double error = std::abs(double(y[i]) - expected) / ulp;
      if (!(error <= worst)) worst = error, at = x[i];
    }
    CHECK_THAT(worst <= 2.0, isa + ": " + std::to_string(worst) + " ulp at " + std::to_string(at));
    float nan = kNaN, result = 0;
    kernels_of(isa).exp(&nan, 1, &result);
    CHECK(std::isnan(result));
  }
}

TEST("conversions: all float16 and bfloat16 values, rounding to nearest even") {
  for (const std::string& isa : instruction_sets()) {
    const cpu::Kernels& k = kernels_of(isa);
    std::vector<cpu::Half> halves(65536);
    std::vector<cpu::Bfloat16> brains(65536);
    for (uint32_t i = 0; i < 65536; ++i) halves[i].bits = brains[i].bits = uint16_t(i);
    std::vector<float> from_half(65536), from_brain(65536);
    // An odd count: the tail of a vector is converted too.
    k.half_to_float(halves.data(), 65535, from_half.data());
    k.bfloat16_to_float(brains.data(), 65535, from_brain.data());
    const auto same = [](float a, float b) {
      return (std::isnan(a) && std::isnan(b)) || std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
    };
    int wrong = 0;
    for (uint32_t i = 0; i < 65535; ++i) {
      wrong += !same(from_half[i], half_to_float(uint16_t(i)));
      wrong += !same(from_brain[i], bfloat16_to_float(uint16_t(i)));
    }
    CHECK_THAT(wrong == 0, isa + ": " + std::to_string(wrong) + " values widened wrongly");

    std::vector<float> x;
    for (uint64_t bits = 0; bits < (uint64_t(1) << 32); bits += 4093)
      x.push_back(std::bit_cast<float>(uint32_t(bits)));
    // Halfway between neighbours of either type, where rounding to even decides.
    for (uint32_t i = 0; i < 65536; i += 3) {
      x.push_back(std::bit_cast<float>((i << 16) | 0x8000u));
      x.push_back((half_to_float(uint16_t(i)) + half_to_float(uint16_t(i + 1))) / 2);
    }
    std::vector<cpu::Half> to_half(x.size());
    std::vector<cpu::Bfloat16> to_brain(x.size());
    k.float_to_half(x.data(), int64_t(x.size()), to_half.data());
    k.float_to_bfloat16(x.data(), int64_t(x.size()), to_brain.data());
    wrong = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      wrong += !same(half_to_float(to_half[i].bits), half_to_float(float_to_half(x[i])));
      wrong += !same(bfloat16_to_float(to_brain[i].bits), bfloat16_to_float(float_to_bfloat16(x[i])));
    }
    CHECK_THAT(wrong == 0, isa + ": " + std::to_string(wrong) + " values narrowed wrongly");
  }
}

TEST("rms_norm") {
  for (const std::string& isa : instruction_sets()) {
    auto backend = create_cpu_backend({2, isa});
    for (const int cols : {1, 7, 16, 33, 300, 4096}) {
      Random random(1);
      const int rows = 21;
      auto x = random.normal(size_t(rows * cols), 3);
      const auto w = random.normal(size_t(cols));
      std::vector<float> y(x.size(), kNaN);
      backend->rms_norm(tensor(x, rows, cols), {w.data(), 1e-5f}, tensor(y, rows, cols));
      for (int t = 0; t < rows; ++t) {
        double squares = 0;
        for (int i = 0; i < cols; ++i) squares += std::pow(double(x[size_t(t * cols + i)]), 2);
        for (int i = 0; i < cols; ++i) {
          const double expected =
              x[size_t(t * cols + i)] / std::sqrt(squares / cols + 1e-5) * w[size_t(i)];
          CHECK(std::abs(y[size_t(t * cols + i)] - expected) <= 1e-6 * std::abs(expected));
        }
      }
    }
  }
}

TEST("embed and store_rows: rows of every type to weights of every type, interleaved") {
  constexpr DType kTypes[] = {DType::f32, DType::f16, DType::bf16};
  for (const std::string& isa : instruction_sets()) {
    auto backend = create_cpu_backend({2, isa});
    for (const DType stored : kTypes) {
      for (const DType given : {DType::f32, DType::f16, DType::bf16, DType::f64}) {
        const int rows = 10, cols = 37;
        Random random(2);
        const auto values = random.normal(size_t(rows * cols));
        const auto weight = backend->create_weight(stored, 2 * rows, cols, "embedding");
        std::vector<uint16_t> halves;
        std::vector<double> doubles(values.begin(), values.end());
        for (const float v : values)
          halves.push_back(given == DType::bf16 ? float_to_bfloat16(v) : float_to_half(v));
        const void* source = given == DType::f32   ? static_cast<const void*>(values.data())
                             : given == DType::f64 ? static_cast<const void*>(doubles.data())
                                                   : halves.data();
        // Even rows in order, then odd rows from the same values.
        store_rows(*backend, *weight, 0, 2, source, given, rows);
        store_rows(*backend, *weight, 1, 2, source, given, rows);
        BatchData data({{0, 5}}, random);
        data.tokens = {19, 0, 7, 7, 2};
        std::vector<float> y(size_t(5 * cols), kNaN);
        backend->embed(data.view(), *weight, tensor(y, 5, cols));
        for (int t = 0; t < 5; ++t) {
          for (int i = 0; i < cols; ++i) {
            const float v = values[size_t(data.tokens[size_t(t)] / 2 * cols + i)];
            CHECK(y[size_t(t * cols + i)] == rounded(rounded(v, given), stored));
          }
        }
      }
    }
  }
}

TEST("gather_rows, copy, fill_zero, copy_blocks") {
  auto backend = create_cpu_backend({1, ""});
  auto other = create_cpu_backend({1, "generic"});
  Random random(4);
  auto x = random.normal(30);
  std::vector<float> y(12, kNaN);
  const int32_t rows[] = {9, 0, 0, 4};
  backend->gather_rows(tensor(x, 10, 3), rows, tensor(y, 4, 3));
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 3; ++j) CHECK(y[size_t(i * 3 + j)] == x[size_t(rows[i] * 3 + j)]);

  const auto a = backend->allocate(30 * sizeof(float), "a test"), b = backend->allocate(120, "a test");
  const auto c = other->allocate(120, "a test");
  backend->upload(a->data(), x.data(), 120);
  backend->copy(b->data(), a->data(), 120);
  other->copy_from(c->data(), *backend, b->data(), 120);
  std::vector<float> back(30, kNaN);
  other->download(back.data(), c->data(), 120);
  CHECK(back == x);
  backend->fill_zero(b->data(), 60);
  backend->download(back.data(), b->data(), 120);
  CHECK(std::all_of(back.begin(), back.begin() + 15, [](float v) { return v == 0; }));
  CHECK(std::equal(back.begin() + 15, back.end(), x.begin() + 15));

  const int page = 2 * kKvBlockTokens * 8;
  auto keys = random.normal(size_t(5 * page)), values = random.normal(size_t(5 * page));
  const auto keys_before = keys, values_before = values;
  const int32_t pairs[] = {0, 3, 4, 1};
  backend->copy_blocks({keys.data(), values.data(), DType::f32, 2, 8}, pairs);
  const int source[] = {0, 4, 2, 0, 4};
  for (int p = 0; p < 5; ++p) {
    CHECK(std::equal(keys.begin() + p * page, keys.begin() + (p + 1) * page,
                     keys_before.begin() + source[p] * page));
    CHECK(std::equal(values.begin() + p * page, values.begin() + (p + 1) * page,
                     values_before.begin() + source[p] * page));
  }
}

}  // namespace
}  // namespace komt::test
