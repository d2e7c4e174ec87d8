// Ragged batches over a paged cache with shuffled pages, and attention over them in float64.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "attention/attention.h"
#include "common/kv_page.h"
#include "harness.h"

namespace komt::test::attention {

constexpr int kPage = kernels::kPageTokens;

struct Sequence {
  int kv_length;
  int new_tokens;
};

struct Heads {
  int query;
  int kv;
  int dim;
};

// One sequence's own data, the same whatever batch it is put in.
template <class T>
struct Stream {
  Stream(Sequence lengths, Heads heads, std::uint64_t seed) : lengths(lengths) {
    Random random(seed);
    query = random.normal<T>(std::size_t(lengths.kv_length) * heads.query * heads.dim);
    keys = random.normal<T>(std::size_t(lengths.kv_length) * heads.kv * heads.dim);
    values = random.normal<T>(std::size_t(lengths.kv_length) * heads.kv * heads.dim);
  }

  Sequence lengths;
  std::vector<T> query;  // [kv_length, query heads, dim]; only the new tokens' are asked about
  std::vector<T> keys;   // [kv_length, kv heads, dim]
  std::vector<T> values;
};

template <class T>
class Problem {
 public:
  Problem(Heads heads, std::vector<Stream<T>> streams, int window = 0, std::uint64_t page_seed = 1)
      : heads_(heads), streams_(std::move(streams)), window_(window) {
    int pages = 0;
    for (const Stream<T>& s : streams_) {
      const int needed = (s.lengths.kv_length + kPage - 1) / kPage;
      pages += needed;
      stride_ = std::max(stride_, needed + 1);
    }
    // One page more than is used, and an entry more than any sequence reads: neither may be touched.
    Random random(page_seed);
    const std::vector<std::int32_t> order = random.permutation(pages + 1);
    const std::size_t page_elements = std::size_t(heads.kv) * kPage * heads.dim;
    // What no token has written is a NaN: padding that reaches a result shows.
    keys_.assign(page_elements * (pages + 1), not_a_number());
    values_ = keys_;
    int next = 0;
    cu_seqlens_.push_back(0);
    for (const Stream<T>& s : streams_) {
      const auto row = block_table_.size();
      block_table_.resize(row + stride_, std::numeric_limits<std::int32_t>::max());
      for (int t = 0; t < s.lengths.kv_length; ++t) {
        if (t % kPage == 0) block_table_[row + t / kPage] = order[next++];
        for (int h = 0; h < heads.kv; ++h) {
          const std::size_t from = (std::size_t(t) * heads.kv + h) * heads.dim;
          const std::size_t to =
              ((std::size_t(block_table_[row + t / kPage]) * heads.kv + h) * kPage + t % kPage) *
              heads.dim;
          std::copy_n(&s.keys[from], heads.dim, &keys_[to]);
          std::copy_n(&s.values[from], heads.dim, &values_[to]);
        }
      }
      const std::size_t token_elements = std::size_t(heads.query) * heads.dim;
      query_.insert(query_.end(), s.query.end() - s.lengths.new_tokens * token_elements,
                    s.query.end());
      cu_seqlens_.push_back(cu_seqlens_.back() + s.lengths.new_tokens);
      kv_lengths_.push_back(s.lengths.kv_length);
      max_new_tokens_ = std::max(max_new_tokens_, s.lengths.new_tokens);
      max_kv_length_ = std::max(max_kv_length_, s.lengths.kv_length);
    }
  }

  // The kernels' answer, [tokens, query heads * dim]; empty when the case has failed.
  std::vector<T> run(Case& c) const {
    const DeviceBuffer<T> query(query_), keys(keys_), values(values_);
    const DeviceBuffer<std::int32_t> cu_seqlens(cu_seqlens_), kv_lengths(kv_lengths_),
        block_table(block_table_);
    DeviceBuffer<T> output(query_.size());
    const int sequences = int(streams_.size());
    DeviceBuffer<float> partials(kernels::attention_partial_floats(
        sequences, max_kv_length_, heads_.query, heads_.kv, heads_.dim));
    const std::vector<std::uint32_t> zeros(
        kernels::attention_tickets(sequences, heads_.query, heads_.kv), 0);
    DeviceBuffer<std::uint32_t> tickets(zeros);
    kernels::AttentionArgs args;
    args.type = element_type<T>();
    args.query = query.data();
    args.output = output.data();
    args.keys = keys.data();
    args.values = values.data();
    args.cu_seqlens = cu_seqlens.data();
    args.kv_lengths = kv_lengths.data();
    args.block_table = block_table.data();
    args.block_table_stride = stride_;
    args.num_sequences = sequences;
    args.max_new_tokens = max_new_tokens_;
    args.max_kv_length = max_kv_length_;
    args.num_heads = heads_.query;
    args.num_kv_heads = heads_.kv;
    args.head_dim = heads_.dim;
    args.scale = scale();
    args.window = window_;
    args.partials = partials.data();
    args.tickets = tickets.data();
    if (!c.ran(kernels::attention(args, nullptr))) return {};
    c.identical("tickets", tickets.host(), zeros);
    return output.host();
  }

  std::vector<double> expected() const {
    std::vector<double> output;
    output.reserve(query_.size());
    for (const Stream<T>& s : streams_) {
      for (int t = s.lengths.kv_length - s.lengths.new_tokens; t < s.lengths.kv_length; ++t) {
        for (int h = 0; h < heads_.query; ++h) append_row(output, s, t, h);
      }
    }
    return output;
  }

  // Of one query head of the i-th new token of the only sequence.
  std::vector<double> expected_head(int i, int head) const {
    const Stream<T>& s = streams_.front();
    std::vector<double> output;
    append_row(output, s, s.lengths.kv_length - s.lengths.new_tokens + i, head);
    return output;
  }

  int columns() const { return heads_.query * heads_.dim; }

 private:
  static T not_a_number() { return from_float<T>(std::numeric_limits<float>::quiet_NaN()); }
  float scale() const { return 1.0f / std::sqrt(float(heads_.dim)); }

  void append_row(std::vector<double>& output, const Stream<T>& s, int t, int h) const {
    const int kv_head = h / (heads_.query / heads_.kv);
    const int begin = window_ == 0 ? 0 : std::max(0, t - window_ + 1);
    const T* q = &s.query[(std::size_t(t) * heads_.query + h) * heads_.dim];
    std::vector<double> weights;
    double maximum = -INFINITY;
    for (int key = begin; key <= t; ++key) {
      const T* k = &s.keys[(std::size_t(key) * heads_.kv + kv_head) * heads_.dim];
      double score = 0;
      for (int d = 0; d < heads_.dim; ++d) score += double(to_float(q[d])) * double(to_float(k[d]));
      weights.push_back(score * double(scale()));
      maximum = std::max(maximum, weights.back());
    }
    double sum = 0;
    for (double& w : weights) sum += w = std::exp(w - maximum);
    std::vector<double> row(heads_.dim);
    for (int key = begin; key <= t; ++key) {
      const T* v = &s.values[(std::size_t(key) * heads_.kv + kv_head) * heads_.dim];
      const double weight = weights[key - begin] / sum;
      for (int d = 0; d < heads_.dim; ++d) row[d] += weight * double(to_float(v[d]));
    }
    output.insert(output.end(), row.begin(), row.end());
  }

  Heads heads_;
  std::vector<Stream<T>> streams_;
  int window_;
  int stride_ = 0;
  int max_new_tokens_ = 0;
  int max_kv_length_ = 0;
  std::vector<T> query_;
  std::vector<T> keys_;
  std::vector<T> values_;
  std::vector<std::int32_t> cu_seqlens_;
  std::vector<std::int32_t> kv_lengths_;
  std::vector<std::int32_t> block_table_;
};

template <class T>
std::vector<Stream<T>> streams(const std::vector<Sequence>& sequences, Heads heads) {
  std::vector<Stream<T>> result;
  for (const Sequence& s : sequences) {
    result.emplace_back(s, heads, std::uint64_t(s.kv_length * 1000 + s.new_tokens));
  }
  return result;
}

// Probabilities are rounded to T before they meet the values, whose weighted sum is of order one, and
// the sum is rounded to T.
template <class T>
constexpr Tolerance tolerance() {
  Tolerance t = rounding<T>();
  t.absolute = std::is_same_v<T, half> ? 1e-3 : 8e-3;
  return t;
}

}  // namespace komt::test::attention
