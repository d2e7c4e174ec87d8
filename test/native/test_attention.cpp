// Backend::attention against softmax in double.
#include <algorithm>

#include "support.h"

namespace komt::test {
namespace {

struct Config {
  int heads, kv_heads, head_dim, window;
};

double reference(const float* q, const std::vector<float>& keys, const std::vector<float>& values,
                 const BatchData& data, int sequence, int position, int kv_head, const Config& c,
                 float scale, std::vector<double>& output) {
  const int first = c.window > 0 ? std::max(0, position - c.window + 1) : 0;
  std::vector<double> scores;
  for (int j = first; j <= position; ++j) {
    const float* k = &keys[data.cache_index(sequence, j, kv_head, c.kv_heads, c.head_dim)];
    double s = 0;
    for (int d = 0; d < c.head_dim; ++d) s += double(q[d]) * k[d];
    scores.push_back(s * double(scale));
  }
  const double top = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& s : scores) sum += s = std::exp(s - top);
  output.assign(size_t(c.head_dim), 0.0);
  double largest = 0;
  for (int j = first; j <= position; ++j) {
    const float* v = &values[data.cache_index(sequence, j, kv_head, c.kv_heads, c.head_dim)];
    for (int d = 0; d < c.head_dim; ++d) {
      output[size_t(d)] += scores[size_t(j - first)] / sum * v[d];
      largest = std::max(largest, std::abs(double(v[d])));
    }
  }
  return largest;
}

TEST("attention: prefill, decode and both at once, any heads, windows") {
  const Config configs[] = {{4, 4, 64, 0}, {8, 2, 128, 0}, {5, 1, 80, 0},  {2, 2, 8, 0},
                            {4, 2, 20, 0}, {2, 1, 256, 0}, {4, 2, 64, 1},  {4, 2, 64, 7},
                            {4, 2, 48, 64}, {3, 3, 40, 70}, {2, 1, 100, 500},
                            {16, 2, 72, 300}};
  const std::vector<std::vector<BatchData::Sequence>> batches = {
      {{0, 1}}, {{0, 5}}, {{0, 200}}, {{63, 1}}, {{64, 1}}, {{300, 1}, {5, 1}, {0, 1}},
      // Pages that one token reads side by side: one group, two, a rest, the last of them just full.
      {{255, 1}}, {{254, 1}}, {{639, 1}, {575, 1}, {400, 2}},
      {{0, 70}, {129, 1}, {100, 60}, {62, 3}}};
  for (const std::string& isa : instruction_sets()) {
    auto backend = create_cpu_backend({2, isa});
    for (const Config& c : configs) {
      for (const auto& sequences : batches) {
        Random random(uint32_t(c.heads * 1000 + c.head_dim + int(sequences.size())));
        BatchData data(sequences, random);
        const Batch batch = data.view();
        const int width = c.heads * c.head_dim;
        auto q = random.normal(size_t(batch.num_tokens * width), 2);
        // What no token may see is NaN.
        std::vector<float> keys(data.cache_size(c.kv_heads, c.head_dim), kNaN), values = keys;
        for (int s = 0; s < batch.num_sequences; ++s) {
          const auto& seq = sequences[size_t(s)];
          const int first = c.window > 0 ? std::max(0, seq.past - c.window + 1) : 0;
          for (int j = first; j < seq.past + seq.added; ++j) {
            for (int h = 0; h < c.kv_heads; ++h) {
              const size_t at = data.cache_index(s, j, h, c.kv_heads, c.head_dim);
              const auto k = random.normal(size_t(c.head_dim));
              const auto v = random.normal(size_t(c.head_dim));
              std::copy(k.begin(), k.end(), keys.begin() + ptrdiff_t(at));
              std::copy(v.begin(), v.end(), values.begin() + ptrdiff_t(at));
            }
          }
        }
        std::vector<float> output(q.size(), kNaN);
        AttentionArgs args;
        args.query = tensor(q, batch.num_tokens, width);
        args.output = tensor(output, batch.num_tokens, width);
        args.batch = &batch;
        args.kv = {keys.data(), values.data(), DType::f32, c.kv_heads, c.head_dim};
        args.num_heads = c.heads;
        args.scale = 1 / std::sqrt(float(c.head_dim));
        args.window = c.window;
        backend->attention(args);

        std::vector<double> expected;
        for (int t = 0; t < batch.num_tokens; ++t) {
          for (int h = 0; h < c.heads; ++h) {
            const size_t at = size_t(t * width + h * c.head_dim);
            const double largest =
                reference(&q[at], keys, values, data, data.sequence_ids[size_t(t)],
                          data.positions[size_t(t)], h / (c.heads / c.kv_heads), c, args.scale,
                          expected);
            for (int d = 0; d < c.head_dim; ++d) {
              const double found = output[at + size_t(d)];
              CHECK_THAT(std::abs(found - expected[size_t(d)]) <= 3e-6 * largest,
                         isa + " head_dim " + std::to_string(c.head_dim) + " window " +
                             std::to_string(c.window) + ": found " + std::to_string(found) +
                             ", expected " + std::to_string(expected[size_t(d)]));
            }
          }
        }
      }
    }
  }
}

TEST("attention: scores far apart neither overflow nor vanish") {
  for (const std::string& isa : instruction_sets()) {
    auto backend = create_cpu_backend({1, isa});
    Random random(3);
    BatchData data({{99, 1}}, random);
    const Batch batch = data.view();
    std::vector<float> q(16, 100.0f), output(16, kNaN);
    std::vector<float> keys(data.cache_size(1, 16), -50.0f), values(keys.size(), 1.0f);
    // One key wins by more than e^800; its value is all that counts.
    const size_t winner = data.cache_index(0, 70, 0, 1, 16);
    std::fill_n(keys.begin() + ptrdiff_t(winner), 16, 50.0f);
    std::fill_n(values.begin() + ptrdiff_t(winner), 16, 3.0f);
    AttentionArgs args;
    args.query = tensor(q, 1, 16);
    args.output = tensor(output, 1, 16);
    args.batch = &batch;
    args.kv = {keys.data(), values.data(), DType::f32, 1, 16};
    args.num_heads = 1;
    args.scale = 0.25f;
    backend->attention(args);
    for (const float v : output) CHECK(v == 3.0f);
  }
}

}  // namespace
}  // namespace komt::test
