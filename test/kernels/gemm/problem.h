// Matrix products with every epilogue, on normal data, and what they give in float64.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/kv_page.h"
#include "gemm/linear.h"
#include "harness.h"

namespace komt::test {

struct Shape {
  int m;
  int n;
  int k;
};

// y = input W^T + bias in float64. Weights have deviation 1/sqrt(k), so that y is about normal.
template <class T>
struct Product {
  Product(Shape s, std::uint64_t seed, bool with_bias) : shape(s) {
    Random random(seed);
    input = random.normal<T>(std::size_t(s.m) * s.k);
    weight = random.normal<T>(std::size_t(s.n) * s.k, 1 / std::sqrt(double(s.k)));
    if (with_bias) bias = random.normal<float>(std::size_t(s.n), 0.5);
  }

  std::vector<double> result() const { return result(input); }

  std::vector<double> result(const std::vector<T>& x) const {
    std::vector<double> y(std::size_t(shape.m) * shape.n);
    for (int i = 0; i < shape.m; ++i) {
      for (int j = 0; j < shape.n; ++j) {
        double sum = bias.empty() ? 0.0 : double(bias[j]);
        for (int c = 0; c < shape.k; ++c) {
          sum += double(to_float(x[std::size_t(i) * shape.k + c])) *
                 double(to_float(weight[std::size_t(j) * shape.k + c]));
        }
        y[std::size_t(i) * shape.n + j] = sum;
      }
    }
    return y;
  }

  kernels::LinearArgs args(const DeviceBuffer<T>& input_buffer,
                           const DeviceBuffer<T>& weight_buffer,
                           const DeviceBuffer<float>& bias_buffer) const {
    kernels::LinearArgs a;
    a.type = element_type<T>();
    a.rows = shape.m;
    a.n = shape.n;
    a.k = shape.k;
    a.input = input_buffer.data();
    a.weight = weight_buffer.data();
    a.bias = bias.empty() ? nullptr : bias_buffer.data();
    a.output_type = element_type<T>();
    return a;
  }

  Shape shape;
  std::vector<T> input;
  std::vector<T> weight;
  std::vector<float> bias;
};

// Results are about normal whatever k, so the error of the sum is that of a dot product of unit
// size.
template <class Out>
Tolerance product_tolerance(int k) {
  return dot_product<Out>(k, 1 / std::sqrt(double(k)));
}

inline double silu(double x) { return x / (1 + std::exp(-x)); }

inline std::vector<double> gated(const std::vector<double>& y) {
  std::vector<double> out(y.size() / 2);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = silu(y[2 * i]) * y[2 * i + 1];
  return out;
}

struct Heads {
  int query;
  int key_value;
  int dim;

  int columns() const { return (query + 2 * key_value) * dim; }
};

// A paged cache, rotary tables and a batch whose rows lie all over them.
template <class T>
class RopeProblem {
 public:
  RopeProblem(int rows, Heads heads, std::uint64_t seed) : rows_(rows), heads_(heads) {
    Random random(seed);
    for (int i = 0; i < kTableRows * heads.dim / 2; ++i) {
      const double angle = 3 * random.normal();
      cos_.push_back(float(std::cos(angle)));
      sin_.push_back(float(std::sin(angle)));
    }
    // Distinct positions in every sequence, pages shuffled and some of them nobody's.
    const std::vector<std::int32_t> slots = random.permutation(kSequences * kPages * kPage);
    for (int row = 0; row < rows; ++row) {
      sequence_ids_.push_back(slots[row] / (kPages * kPage));
      positions_.push_back(slots[row] % (kPages * kPage));
      rope_rows_.push_back(std::int32_t(random.below(kTableRows)));
    }
    block_table_ = random.permutation(kBlocks);
    block_table_.resize(kSequences * kPages);
  }

  std::size_t cache_size() const {
    return std::size_t(kBlocks) * heads_.key_value * kPage * heads_.dim;
  }

  struct Expected {
    std::vector<double> query;
    std::vector<double> keys;  // NaN where nothing is written
    std::vector<double> values;
  };

  Expected expected(const std::vector<double>& y) const {
    Expected e;
    const int dim = heads_.dim;
    e.query.resize(std::size_t(rows_) * heads_.query * dim);
    e.keys.assign(cache_size(), NAN);
    e.values.assign(cache_size(), NAN);
    for (int row = 0; row < rows_; ++row) {
      for (int head = 0; head < heads_.query + 2 * heads_.key_value; ++head) {
        const double* from = &y[std::size_t(row) * heads_.columns() + std::size_t(head) * dim];
        const int key_head = head - heads_.query;
        const int value_head = key_head - heads_.key_value;
        double* to = key_head < 0     ? &e.query[(std::size_t(row) * heads_.query + head) * dim]
                     : value_head < 0 ? &e.keys[cache_row(row, key_head)]
                                      : &e.values[cache_row(row, value_head)];
        for (int d = 0; d < dim; ++d) to[d] = value_head < 0 ? rotated(from, row, d) : from[d];
      }
    }
    return e;
  }

  // Device copies of it all, alive as long as the object.
  struct Device {
    explicit Device(const RopeProblem& p)
        : cos(p.cos_),
          sin(p.sin_),
          positions(p.positions_),
          rope_rows(p.rope_rows_),
          sequence_ids(p.sequence_ids_),
          block_table(p.block_table_),
          keys(p.cache_size()),
          values(p.cache_size()) {}
    DeviceBuffer<float> cos, sin;
    DeviceBuffer<std::int32_t> positions, rope_rows, sequence_ids, block_table;
    DeviceBuffer<T> keys, values;
  };

  kernels::RopeAppend args(Device& d) const {
    kernels::RopeAppend r;
    r.positions = d.positions.data();
    r.rope_rows = d.rope_rows.data();
    r.sequence_ids = d.sequence_ids.data();
    r.block_table = d.block_table.data();
    r.block_table_stride = kPages;
    r.cos = d.cos.data();
    r.sin = d.sin.data();
    r.keys = d.keys.data();
    r.values = d.values.data();
    r.num_heads = heads_.query;
    r.num_kv_heads = heads_.key_value;
    r.head_dim = heads_.dim;
    return r;
  }

 private:
  static constexpr int kPage = kernels::kPageTokens;
  static constexpr int kTableRows = 50;
  static constexpr int kSequences = 3;
  static constexpr int kPages = 2;
  static constexpr int kBlocks = 9;

  std::size_t cache_row(int row, int head) const {
    const int page = block_table_[sequence_ids_[row] * kPages + positions_[row] / kPage];
    return ((std::size_t(page) * heads_.key_value + head) * kPage + positions_[row] % kPage) *
           heads_.dim;
  }

  double rotated(const double* x, int row, int d) const {
    const int half_dim = heads_.dim / 2;
    const std::size_t at = std::size_t(rope_rows_[row]) * half_dim + d % half_dim;
    const double c = cos_[at];
    const double s = sin_[at];
    return d < half_dim ? x[d] * c - x[d + half_dim] * s : x[d] * c + x[d - half_dim] * s;
  }

  int rows_;
  Heads heads_;
  std::vector<float> cos_, sin_;
  std::vector<std::int32_t> positions_, rope_rows_, sequence_ids_, block_table_;
};

}  // namespace komt::test
