// The plain sampler: sorts, and adds in the order that the definition in sampling/sampling.h has.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "sampling/sampling.h"

namespace komt::test::sampling {

struct Stream {
  std::uint64_t hash = 0;
  std::uint32_t lane = 0;
  std::uint32_t step = 0;
};

inline double uniform(std::uint64_t seed, const Stream& s) {
  std::uint32_t x[4] = {s.step, s.lane, std::uint32_t(s.hash), std::uint32_t(s.hash >> 32)};
  std::uint32_t key[2] = {std::uint32_t(seed), std::uint32_t(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * x[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * x[2];
    const std::uint32_t next[4] = {std::uint32_t(b >> 32) ^ x[1] ^ key[0], std::uint32_t(b),
                                   std::uint32_t(a >> 32) ^ x[3] ^ key[1], std::uint32_t(a)};
    std::copy_n(next, 4, x);
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return double((std::uint64_t(x[0]) << 32 | x[1]) >> 11) * 0x1p-53;
}

struct Choice {
  std::int32_t token = -1;
  double logprob = NAN;
  std::vector<std::int32_t> candidates;  // that could have been drawn, ascending
  double margin = 1;  // distance of u from the next token, relative to the total
};

class Reference {
 public:
  Reference(const kernels::SamplingSettings& settings, std::vector<float> scores,
            const std::vector<std::uint8_t>& seen, const std::vector<std::int32_t>& masked)
      : settings_(settings), scores_(std::move(scores)) {
    for (std::size_t i = 0; i < seen.size() && settings.repetition_penalty != 1; ++i) {
      if (!seen[i]) continue;
      float& x = scores_[i];
      x = x < 0 ? x * settings.repetition_penalty : x / settings.repetition_penalty;
    }
    for (const std::int32_t id : masked) scores_[id] = -INFINITY;
    ids_.resize(scores_.size());
    std::iota(ids_.begin(), ids_.end(), 0);
  }

  Choice greedy() const {
    Choice choice;
    choice.token = 0;
    for (const std::int32_t id : ids_) {
      const float x = scores_[id], best = scores_[choice.token];
      if (!std::isnan(best) && (std::isnan(x) || x > best)) choice.token = id;
    }
    choice.logprob = logprob_of(choice.token);
    return choice;
  }

  Choice draw(double u) {
    for (float& x : scores_) x /= settings_.temperature;
    keep([&](std::int32_t id) { return scores_[id] != -INFINITY; });
    const int vocab = int(scores_.size());
    if (settings_.top_k > 0 && settings_.top_k < vocab) top_k(settings_.top_k);
    if (settings_.top_p < 1) top_p();
    if (settings_.min_p > 0) {
      const auto p = probabilities();
      const float limit = settings_.min_p * *std::max_element(p.begin(), p.end());
      keep([&](std::int32_t id) { return !(p[id] < limit); });
    }
    if (settings_.typical_p < 1) typical();

    const std::vector<float> w = weights();
    double total = 0;
    for (const std::int32_t id : ids_) total += w[id];
    Choice choice;
    choice.candidates = ids_;
    double sum = 0;
    for (const std::int32_t id : ids_) {
      choice.margin = std::min(choice.margin, std::abs(sum - u * total) / total);
      sum += w[id];
      if (w[id] > 0) choice.token = id;
      if (sum > u * total) break;
    }
    choice.margin = std::min(choice.margin, std::abs(sum - u * total) / total);
    choice.logprob = logprob_of(choice.token);
    return choice;
  }

 private:
  float top() const {
    float top = -INFINITY;
    for (const std::int32_t id : ids_) {
      top = std::isnan(scores_[id]) ? scores_[id] : std::max(top, scores_[id]);
    }
    return top;
  }

  std::vector<float> weights() const {
    std::vector<float> w(scores_.size());
    const float maximum = top();
    for (const std::int32_t id : ids_) w[id] = float(std::exp(double(scores_[id] - maximum)));
    return w;
  }

  std::vector<float> probabilities() const {
    std::vector<float> p = weights();
    double total = 0;
    for (const std::int32_t id : ids_) total += p[id];
    for (const std::int32_t id : ids_) p[id] /= float(total);
    return p;
  }

  template <class Keep>
  void keep(const Keep& kept) {
    std::erase_if(ids_, [&](std::int32_t id) { return !kept(id); });
  }

  void top_k(int k) {
    std::vector<float> sorted = scores_;
    std::sort(sorted.begin(), sorted.end(), std::greater<float>());
    keep([&, least = sorted[k - 1]](std::int32_t id) { return scores_[id] >= least; });
  }

  void top_p() {
    const auto p = probabilities();
    std::vector<std::int32_t> order = ids_;
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return scores_[a] < scores_[b]; });
    std::vector<bool> gone(scores_.size());
    double cumulative = 0;
    for (std::size_t i = 0; i + 1 < order.size(); ++i) {
      cumulative += p[order[i]];
      if (float(cumulative) > float(1.0 - double(settings_.top_p))) break;
      gone[order[i]] = true;
    }
    keep([&](std::int32_t id) { return !gone[id]; });
  }

  void typical() {
    double exponentials = 0;
    const float maximum = top();
    for (const std::int32_t id : ids_) exponentials += std::exp(double(scores_[id] - maximum));
    const float shift = float(std::log(exponentials));
    double sum = 0;
    for (const std::int32_t id : ids_) {
      const float log_p = (scores_[id] - maximum) - shift;
      const float p = float(std::exp(double(log_p)));
      const volatile float term = log_p * p;
      sum += double(term);
    }
    const float entropy = float(-sum);
    std::vector<float> distance(scores_.size());
    for (const std::int32_t id : ids_) {
      distance[id] = std::abs(-((scores_[id] - maximum) - shift) - entropy);
    }
    std::vector<std::int32_t> order = ids_;
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return distance[a] < distance[b]; });
    const auto p = probabilities();
    double cumulative = 0;
    float limit = distance[order.back()];
    for (const std::int32_t id : order) {
      cumulative += p[id];
      if (float(cumulative) >= settings_.typical_p) {
        limit = distance[id];
        break;
      }
    }
    keep([&](std::int32_t id) { return distance[id] <= limit; });
  }

  double logprob_of(std::int32_t token) const {
    const float maximum = top();
    double sum = 0;
    for (const std::int32_t id : ids_) {
      if (scores_[id] != -INFINITY) sum += std::exp(double(scores_[id] - maximum));
    }
    return double(scores_[token]) - maximum - std::log(sum);
  }

  kernels::SamplingSettings settings_;
  std::vector<float> scores_;
  std::vector<std::int32_t> ids_;
};

}  // namespace komt::test::sampling
