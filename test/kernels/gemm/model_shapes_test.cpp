// The products of the 7B and 13B models at their own sizes, every element of them.
//
// A whole reference would take the host minutes. Instead, with signs r of the columns, every row i
// of y has to satisfy  sum_j r_j y_ij = sum_c x_ic (W^T r)_c  (Freivalds, 1977), which a wrong
// element anywhere breaks, and sampled columns are held against float64 one by one. What the other
// epilogues and the fused norm give is then held against y.
#include <algorithm>
#include <cmath>
#include <vector>

#include "environment.h"
#include "gemm/problem.h"
#include "harness.h"

namespace komt::test {
namespace {

using kernels::ElementType;
using kernels::linear;
using kernels::LinearArgs;
using kernels::LinearEpilogue;

// A matrix that repeats a block of normal numbers, so that neither host nor wire carries all of it.
// The block's length is a prime above the number of rows: no two rows are alike.
template <class T>
class Tiled {
 public:
  Tiled(int rows, int columns, double deviation, std::uint64_t seed)
      : rows_(rows), columns_(columns), block_(Random(seed).normal<T>(kBlock, deviation)) {
    values_.reserve(kBlock);
    for (const T x : block_) values_.push_back(double(to_float(x)));
  }

  double at(int row, int column) const {
    return values_[(std::size_t(row) * columns_ + column) % kBlock];
  }
  std::size_t size() const { return std::size_t(rows_) * columns_; }

  void upload(DeviceBuffer<T>& buffer) const {
    for (std::size_t at = 0; at < size(); at += kBlock) {
      detail::device_upload(buffer.data() + at, block_.data(),
                            std::min(kBlock, size() - at) * sizeof(T));
    }
  }

 private:
  static constexpr std::size_t kBlock = 1000003;
  int rows_, columns_;
  std::vector<T> block_;
  std::vector<double> values_;
};

// +1 or -1 for a column.
double sign(int column) { return Random(std::uint64_t(column)).below(2) == 0 ? -1.0 : 1.0; }

struct ModelLayer {
  const char* name;
  Shape shape;  // m: unused
  LinearEpilogue epilogue;
  bool norm;
  Heads heads = {};
};

template <class T>
class LayerTest {
 public:
  LayerTest(const char* model, const ModelLayer& layer)
      : model_(model),
        layer_(layer),
        n_(layer.shape.n),
        k_(layer.shape.k),
        weight_(n_, k_, 1 / std::sqrt(double(k_)), 41),
        device_weight_(weight_.size()) {
    weight_.upload(device_weight_);
    signed_columns_.assign(std::size_t(k_), 0.0);
    for (int j = 0; j < n_; ++j) {
      signs_.push_back(sign(j));
      for (int c = 0; c < k_; ++c) signed_columns_[c] += signs_.back() * weight_.at(j, c);
    }
  }

  void run(int m) {
    Case c("%s %s %s m=%d n=%d k=%d", model_, layer_.name, type_name<T>(), m, n_, k_);
    const Tiled<T> input(m, k_, 1.0, 42);
    DeviceBuffer<T> device_input(input.size());
    input.upload(device_input);
    LinearArgs args;
    args.type = element_type<T>();
    args.rows = m;
    args.n = n_;
    args.k = k_;
    args.input = device_input.data();
    args.weight = device_weight_.data();
    args.output_type = ElementType::f32;
    DeviceBuffer<float> output(std::size_t(m) * n_);
    args.output = output.data();
    if (!c.ran(linear(args, nullptr))) return;
    const std::vector<float> y = output.host();
    if (!check_rows(c, m, input, y)) return;
    check_columns(c, m, input, y);
    check_epilogue(c, args, y);
    if (m == 1 && layer_.norm) check_norm(c, args);
  }

 private:
  bool check_rows(Case& c, int m, const Tiled<T>& input, const std::vector<float>& y) {
    std::vector<double> found, expected;
    for (int i = 0; i < m; ++i) {
      double sum = 0;
      for (int j = 0; j < n_; ++j) sum += signs_[j] * double(y[std::size_t(i) * n_ + j]);
      double reference = 0;
      for (int column = 0; column < k_; ++column) {
        reference += input.at(i, column) * signed_columns_[column];
      }
      found.push_back(sum);
      expected.push_back(reference);
    }
    // Errors of single elements, of either sign, add up as their root.
    const Tolerance sum_of_row{std::sqrt(double(n_)) * product_tolerance<float>(k_).absolute, 0};
    return c.close("signed sum of a row", found, expected, sum_of_row);
  }

  void check_columns(Case& c, int m, const Tiled<T>& input, const std::vector<float>& y) {
    // Around the edges of the widest tile, then anywhere.
    std::vector<int> columns = {0, 127, 128, 255, 256, n_ - 1};
    Random random(43);
    while (columns.size() < 40) columns.push_back(int(random.below(std::uint64_t(n_))));
    std::vector<int> rows = {0, m - 1};
    while (rows.size() < 34) rows.push_back(int(random.below(std::uint64_t(m))));
    std::vector<float> found;
    std::vector<double> expected;
    for (const int i : rows) {
      for (const int j : columns) {
        if (j >= n_) continue;
        double sum = 0;
        for (int column = 0; column < k_; ++column)
          sum += input.at(i, column) * weight_.at(j, column);
        found.push_back(y[std::size_t(i) * n_ + j]);
        expected.push_back(sum);
      }
    }
    c.close("sampled elements", found, expected, product_tolerance<float>(k_));
  }

  void check_epilogue(Case& c, LinearArgs args, const std::vector<float>& y) {
    const std::vector<double> exact(y.begin(), y.end());
    args.epilogue = layer_.epilogue;
    Tolerance tolerance = product_tolerance<T>(k_);
    if (layer_.epilogue == LinearEpilogue::residual_add) {
      const std::vector<float> residual(y.size(), 4.0f);
      DeviceBuffer<float> sum(residual);
      args.output = sum.data();
      if (!c.ran(linear(args, nullptr))) return;
      std::vector<double> added = exact;
      for (double& x : added) x += 4.0;
      c.close("sum", sum.host(), added, product_tolerance<float>(k_), n_);
      return;
    }
    args.output_type = element_type<T>();
    if (layer_.epilogue == LinearEpilogue::silu_gate) {
      DeviceBuffer<T> gate(y.size() / 2);
      args.output = gate.data();
      if (!c.ran(linear(args, nullptr))) return;
      tolerance.absolute *= 8;
      c.close("gated", gate.host(), gated(exact), tolerance, n_ / 2);
    } else if (layer_.epilogue == LinearEpilogue::rope_append && args.rows <= 256) {
      const RopeProblem<T> rope(args.rows, layer_.heads, 44);
      typename RopeProblem<T>::Device device(rope);
      DeviceBuffer<T> query(std::size_t(args.rows) * layer_.heads.query * layer_.heads.dim);
      args.output = query.data();
      args.rope = rope.args(device);
      if (!c.ran(linear(args, nullptr))) return;
      const auto expected = rope.expected(exact);
      tolerance.absolute *= 2;
      c.close("query", query.host(), expected.query, tolerance, layer_.heads.dim);
      c.close("keys", device.keys.host(), expected.keys, tolerance, layer_.heads.dim);
      c.close("values", device.values.host(), expected.values, tolerance, layer_.heads.dim);
    }
  }

  // The row normalised in front, by a weight of ones: y of the normalised row, computed by the same
  // kernel.
  void check_norm(Case& c, LinearArgs args) {
    const auto x = Random(45).normal<float>(std::size_t(k_), 3.0);
    double squares = 0;
    for (const float v : x) squares += double(v) * double(v);
    const double scale = 1 / std::sqrt(squares / double(k_) + 1e-5);
    std::vector<T> rounded;
    for (const float v : x) rounded.push_back(from_float<T>(float(double(v) * scale)));
    DeviceBuffer<T> plain_input(rounded);
    DeviceBuffer<float> input(x), norm(std::vector<float>(std::size_t(k_), 1.0f));
    DeviceBuffer<float> expected{std::size_t(n_)}, output{std::size_t(n_)};
    args.epilogue = LinearEpilogue::store;
    args.output_type = ElementType::f32;
    args.input = plain_input.data();
    args.output = expected.data();
    if (!c.ran(linear(args, nullptr))) return;
    args.input = input.data();
    args.norm_weight = norm.data();
    args.norm_eps = 1e-5f;
    args.output = output.data();
    if (!c.ran(linear(args, nullptr))) return;
    Tolerance tolerance = product_tolerance<float>(k_);
    // A few elements of x may be rounded to the other neighbour, an ulp of what is about 4 at most.
    tolerance.absolute += 4 * rounding<T>().relative * 3 / std::sqrt(double(k_));
    c.close("norm in front", output.host(), expected.host(), tolerance);
  }

  const char* model_;
  ModelLayer layer_;
  int n_, k_;
  Tiled<T> weight_;
  DeviceBuffer<T> device_weight_;
  std::vector<double> signs_;
  std::vector<double> signed_columns_;  // W^T r
};

template <class T>
void test_model(const char* model, int heads, int inner, int vocab, const std::vector<int>& rows) {
  const int hidden = heads * 128;
  const ModelLayer layers[] = {
      {"qkv", {0, 3 * hidden, hidden}, LinearEpilogue::rope_append, true, {heads, heads, 128}},
      {"o", {0, hidden, hidden}, LinearEpilogue::residual_add, false},
      {"gate+up", {0, 2 * inner, hidden}, LinearEpilogue::silu_gate, true},
      {"down", {0, hidden, inner}, LinearEpilogue::residual_add, false},
      {"lm_head", {0, vocab, hidden}, LinearEpilogue::store, true}};
  for (const ModelLayer& layer : layers) {
    LayerTest<T> test(model, layer);
    for (const int m : rows) test.run(m);
  }
}

KOMT_KERNEL_TEST(gemm_model_shapes) {
  if (environment::full_size()) {
    test_model<half>("7B", 32, 11008, 32000, {1, 8, 64, 256, 2048});
    test_model<half>("13B", 40, 13824, 32000, {1, 8, 64, 256, 2048});
    test_model<bfloat16>("13B", 40, 13824, 32000, {1, 2048});
    return;
  }
  // A sixteenth of each, and once: what is tried here is this test.
  if (schedule_seed() != 0) return;
  test_model<half>("7B / 16", 2, 688, 2000, {1, 8, 130});
  test_model<bfloat16>("13B / 16", 3, 864, 2000, {1, 20});
}

}  // namespace
}  // namespace komt::test
