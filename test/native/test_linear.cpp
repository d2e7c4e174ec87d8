// Backend::linear with all epilogues against sums in double.
#include <algorithm>

#include "support.h"

namespace komt::test {
namespace {

constexpr DType kTypes[] = {DType::f32, DType::f16, DType::bf16};

/// A product and, for each output, what rounding may have cost: a share of the sum of magnitudes.
struct Expected {
  std::vector<double> value, tolerance;
};

Expected product(const std::vector<float>& x, const std::vector<float>& w, DType dtype,
                 int tokens, int rows, int cols, const float* norm_weight, float eps,
                 const std::vector<float>& bias) {
  Expected e{std::vector<double>(size_t(tokens * rows)), std::vector<double>(size_t(tokens * rows))};
  std::vector<double> weights(w.size());
  for (size_t i = 0; i < w.size(); ++i) weights[i] = rounded(w[i], dtype);
  for (int t = 0; t < tokens; ++t) {
    std::vector<double> input(size_t(cols), 0.0);
    double squares = 0;
    for (int k = 0; k < cols; ++k) squares += std::pow(double(x[size_t(t * cols + k)]), 2);
    const double scale = norm_weight ? 1 / std::sqrt(squares / cols + double(eps)) : 1;
    for (int k = 0; k < cols; ++k)
      input[size_t(k)] = x[size_t(t * cols + k)] * scale * (norm_weight ? norm_weight[k] : 1);
    for (int r = 0; r < rows; ++r) {
      double sum = bias.empty() ? 0 : bias[size_t(r)], magnitude = std::abs(sum);
      for (int k = 0; k < cols; ++k) {
        const double term = input[size_t(k)] * weights[size_t(r * cols + k)];
        sum += term;
        magnitude += std::abs(term);
      }
      e.value[size_t(t * rows + r)] = sum;
      e.tolerance[size_t(t * rows + r)] = 1e-30 + magnitude * 2.5e-7;
    }
  }
  return e;
}

void check_close(const std::string& what, double found, double expected, double tolerance) {
  CHECK_THAT(std::abs(found - expected) <= tolerance,
             what + ": found " + std::to_string(found) + ", expected " + std::to_string(expected));
}

struct Shape {
  int tokens, rows, cols;
};

TEST("linear: store, every type, ragged shapes") {
  const Shape shapes[] = {{1, 1, 1},    {1, 2, 8},     {2, 7, 5},     {3, 48, 16},  {4, 50, 33},
                          {5, 97, 129}, {7, 31, 1025}, {8, 130, 700}, {17, 64, 64}, {66, 100, 48},
                          {1, 203, 2500}, {515, 9, 40},
                          // A thread's rows are more than one block of few tokens.
                          {1, 4310, 40}, {2, 2200, 33}, {3, 1030, 16}, {4, 4310, 17}};
  for (const std::string& isa : instruction_sets()) {
    auto backend = create_cpu_backend({2, isa});
    for (const Shape& s : shapes) {
      for (const DType dtype : kTypes) {
        for (const int variant : {0, 1, 2, 3}) {
          Random random(uint32_t(s.tokens * 7919 + s.rows * 31 + s.cols + variant));
          auto x = random.normal(size_t(s.tokens * s.cols));
          const auto w = random.normal(size_t(s.rows * s.cols));
          const auto norm_weight = random.normal(size_t(s.cols));
          const auto bias = random.normal(variant & 2 ? size_t(s.rows) : 0);
          const Norm norm{norm_weight.data(), 1e-5f};
          const bool normed = variant & 1;
          const auto weight = make_weight(*backend, dtype, s.rows, s.cols, w);
          std::vector<float> y(size_t(s.tokens * s.rows), kNaN);
          LinearArgs args;
          args.input = tensor(x, s.tokens, s.cols);
          args.norm = normed ? &norm : nullptr;
          args.weight = weight.get();
          args.bias = bias.empty() ? nullptr : bias.data();
          args.output = tensor(y, s.tokens, s.rows);
          backend->linear(args);
          const Expected e = product(x, w, dtype, s.tokens, s.rows, s.cols,
                                     normed ? norm_weight.data() : nullptr, 1e-5f, bias);
          const std::string what = isa + " " + name_of(dtype) + " " + std::to_string(s.tokens) +
                                   "x" + std::to_string(s.rows) + "x" + std::to_string(s.cols);
          for (size_t i = 0; i < y.size(); ++i) check_close(what, y[i], e.value[i], e.tolerance[i]);
        }
      }
    }
  }
}

TEST("linear: residual_add adds to the output") {
  for (const std::string& isa : instruction_sets()) {
    auto backend = create_cpu_backend({2, isa});
    for (const Shape& s : {Shape{1, 96, 64}, Shape{3, 20, 24}, Shape{70, 136, 80},
                           Shape{1, 4310, 24}, Shape{4, 2200, 40}}) {
      Random random(5);
      auto x = random.normal(size_t(s.tokens * s.cols));
      const auto w = random.normal(size_t(s.rows * s.cols));
      const auto bias = random.normal(size_t(s.rows));
      const auto before = random.normal(size_t(s.tokens * s.rows));
      const auto weight = make_weight(*backend, DType::f16, s.rows, s.cols, w);
      auto y = before;
      LinearArgs args;
      args.input = tensor(x, s.tokens, s.cols);
      args.weight = weight.get();
      args.bias = bias.data();
      args.epilogue = Epilogue::residual_add;
      args.output = tensor(y, s.tokens, s.rows);
      backend->linear(args);
      const Expected e =
          product(x, w, DType::f16, s.tokens, s.rows, s.cols, nullptr, 0, bias);
      for (size_t i = 0; i < y.size(); ++i)
        check_close(isa, y[i], before[i] + e.value[i], e.tolerance[i] + 1e-6);
    }
  }
}

TEST("linear: silu_gate takes gate from even rows and up from odd ones") {
  for (const std::string& isa : instruction_sets()) {
    auto backend = create_cpu_backend({3, isa});
    for (const Shape& s : {Shape{1, 96, 64}, Shape{1, 2, 3}, Shape{4, 22, 24}, Shape{70, 138, 80},
                           Shape{1, 4310, 24}, Shape{4, 2200, 40}}) {
      Random random(6);
      auto x = random.normal(size_t(s.tokens * s.cols));
      const auto w = random.normal(size_t(s.rows * s.cols));
      const auto bias = random.normal(size_t(s.rows));
      const auto weight = make_weight(*backend, DType::bf16, s.rows, s.cols, w);
      std::vector<float> y(size_t(s.tokens * s.rows / 2), kNaN);
      LinearArgs args;
      args.input = tensor(x, s.tokens, s.cols);
      args.weight = weight.get();
      args.bias = bias.data();
      args.epilogue = Epilogue::silu_gate;
      args.output = tensor(y, s.tokens, s.rows / 2);
      backend->linear(args);
      const Expected e =
          product(x, w, DType::bf16, s.tokens, s.rows, s.cols, nullptr, 0, bias);
      for (size_t i = 0; i < y.size(); ++i) {
        const double gate = e.value[2 * i], up = e.value[2 * i + 1];
        const double tolerance =
            (std::abs(up) + 1) * 1.2 * e.tolerance[2 * i] + std::abs(gate) * e.tolerance[2 * i + 1] +
            1e-6 * std::abs(gate * up);
        check_close(isa, y[i], gate / (1 + std::exp(-gate)) * up, tolerance);
      }
    }
  }
}

TEST("linear: rope_append rotates queries and keys and fills the pages") {
  struct Heads {
    int query, kv, head_dim, cols;
  };
  for (const std::string& isa : instruction_sets()) {
    auto backend = create_cpu_backend({2, isa});
    for (const Heads& h : {Heads{4, 4, 8, 16}, Heads{6, 2, 20, 48}, Heads{3, 1, 64, 100}, Heads{2, 1, 128, 64}}) {
      for (const bool with_bias : {false, true}) {
        Random random(7);
        // Sequences that start empty, in the middle of a page, and at its end.
        BatchData data({{0, 3}, {61, 7}, {64, 1}, {127, 2}}, random, 5);
        const Batch batch = data.view();
        const int tokens = batch.num_tokens, half = h.head_dim / 2;
        const int rows = (h.query + 2 * h.kv) * h.head_dim;
        auto x = random.normal(size_t(tokens * h.cols));
        const auto w = random.normal(size_t(rows * h.cols));
        const auto bias = random.normal(with_bias ? size_t(rows) : 0);
        const auto angles = random.normal(size_t(200 * half));
        std::vector<float> cosines, sines;
        for (const float a : angles) {
          cosines.push_back(std::cos(a));
          sines.push_back(std::sin(a));
        }
        const auto weight = make_weight(*backend, DType::f32, rows, h.cols, w);
        std::vector<float> keys(data.cache_size(h.kv, h.head_dim), kNaN), values = keys;
        std::vector<float> q(size_t(tokens * h.query * h.head_dim), kNaN);
        LinearArgs args;
        args.input = tensor(x, tokens, h.cols);
        args.weight = weight.get();
        args.bias = with_bias ? bias.data() : nullptr;
        args.epilogue = Epilogue::rope_append;
        args.output = tensor(q, tokens, h.query * h.head_dim);
        args.batch = &batch;
        args.rope = {cosines.data(), sines.data()};
        args.kv = {keys.data(), values.data(), DType::f32, h.kv, h.head_dim};
        args.num_heads = h.query;
        backend->linear(args);

        const Expected e = product(x, w, DType::f32, tokens, rows, h.cols, nullptr, 0, bias);
        size_t written = 0;
        for (int t = 0; t < tokens; ++t) {
          const float* c = &cosines[size_t(data.rope_rows[size_t(t)] * half)];
          const float* s = &sines[size_t(data.rope_rows[size_t(t)] * half)];
          for (int head = 0; head < h.query + 2 * h.kv; ++head) {
            const double* y = &e.value[size_t(t * rows + head * h.head_dim)];
            const double* tolerance = &e.tolerance[size_t(t * rows + head * h.head_dim)];
            const int kv_head = (head - h.query) % h.kv;
            const size_t at = data.cache_index(data.sequence_ids[size_t(t)],
                                               data.positions[size_t(t)], kv_head, h.kv, h.head_dim);
            const bool is_value = head >= h.query + h.kv;
            const float* found = head < h.query ? &q[size_t((t * h.query + head) * h.head_dim)]
                                 : is_value     ? &values[at]
                                                : &keys[at];
            written += head >= h.query ? size_t(h.head_dim) : 0;
            for (int d = 0; d < h.head_dim; ++d) {
              const int i = d % half;
              const double rotated = d < half ? y[i] * c[i] - y[half + i] * s[i]
                                              : y[half + i] * c[i] + y[i] * s[i];
              check_close(isa, found[d], is_value ? y[d] : rotated,
                          2 * (tolerance[i] + tolerance[half + i]));
            }
          }
        }
        const auto is_number = [](float v) { return !std::isnan(v); };
        const auto count = size_t(std::count_if(keys.begin(), keys.end(), is_number) +
                                  std::count_if(values.begin(), values.end(), is_number));
        CHECK_THAT(count == written, isa + ": other cache entries were touched");
      }
    }
  }
}

TEST("linear: nothing to do") {
  auto backend = create_cpu_backend({2, ""});
  std::vector<float> w(64, 1.0f), none;
  const auto weight = make_weight(*backend, DType::f32, 8, 8, w);
  LinearArgs args;
  args.input = tensor(none, 0, 8);
  args.weight = weight.get();
  args.output = tensor(none, 0, 8);
  backend->linear(args);
  CHECK(none.empty());
}

}  // namespace
}  // namespace komt::test
