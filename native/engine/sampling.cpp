#include "engine/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>

#include "engine/error.h"
#include "engine/philox.h"

namespace komt {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Largest score; NaN if there is one.
float largest(const float* scores, size_t count) {
  // Independent lanes, so that the loop is not one chain of dependent comparisons.
  constexpr size_t kLanes = 16;
  float top[kLanes];
  uint32_t nan[kLanes] = {};
  std::fill(top, top + kLanes, -kInfinity);
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      const float x = scores[i + j];
      top[j] = x > top[j] ? x : top[j];
      nan[j] |= uint32_t(x != x);
    }
  }
  for (; i < count; ++i) {
    top[0] = scores[i] > top[0] ? scores[i] : top[0];
    nan[0] |= uint32_t(scores[i] != scores[i]);
  }
  if (std::any_of(nan, nan + kLanes, [](uint32_t n) { return n != 0; }))
    return std::numeric_limits<float>::quiet_NaN();
  return *std::max_element(top, top + kLanes);
}

/// First id with the largest score, or the first NaN.
int32_t arg_max(const float* scores, size_t count) {
  const float top = largest(scores, count);
  const float* end = scores + count;
  const float* found = std::isnan(top) ? std::find_if(scores, end, [](float x) { return x != x; })
                                       : std::find(scores, end, top);
  return found == end ? 0 : int32_t(found - scores);
}

/// float32(e^x) for x <= 0, by way of double.
float exp_rounded(float x) {
  // e^-104 is less than half of the smallest float.
  return x < -104.0f ? 0.0f : float(std::exp(double(x)));
}

/// Log-probability of scores[index]: float32(score - top) - float32(log(sum of exponentials)).
float log_probability(const float* scores, size_t count, size_t index) {
  const float top = largest(scores, count);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    if (scores[i] != -kInfinity) sum += std::exp(double(scores[i] - top));
  }
  return (scores[index] - top) - float(std::log(sum));
}

/// The k-th largest of the scores, 1 <= k <= count, equal ones counted separately.
float kth_largest(const float* scores, size_t count, size_t k, std::vector<float>& work) {
  constexpr size_t kHeapLimit = 2048;
  if (k > kHeapLimit) {
    work.assign(scores, scores + count);
    std::nth_element(work.begin(), work.begin() + ptrdiff_t(k - 1), work.end(),
                     std::greater<float>());
    return work[k - 1];
  }
  // The k best so far with the worst of them in front: few of the later scores pass it.
  work.assign(scores, scores + k);
  std::make_heap(work.begin(), work.end(), std::greater<float>());
  for (size_t i = k; i < count; ++i) {
    if (scores[i] <= work.front()) continue;
    std::pop_heap(work.begin(), work.end(), std::greater<float>());
    work.back() = scores[i];
    std::push_heap(work.begin(), work.end(), std::greater<float>());
  }
  return work.front();
}

void penalise(float* scores, const uint8_t* seen, int vocab, float penalty) {
  for (int i = 0; i < vocab; ++i) {
    const float penalised = scores[i] < 0 ? scores[i] * penalty : scores[i] / penalty;
    scores[i] = seen[i] ? penalised : scores[i];
  }
}

}  // namespace

SampleResult Sampler::sample(const SampleRequest& request) {
  const SamplingParams& params = *request.params;
  const size_t vocab = size_t(request.vocab);
  float* scores = request.scores;
  if (request.seen && params.repetition_penalty != 1.0f)
    penalise(scores, request.seen, request.vocab, params.repetition_penalty);
  if (request.mask_eos) {
    for (const int32_t id : request.eos_token_ids) {
      if (id >= 0 && id < request.vocab) scores[id] = -kInfinity;
    }
  }

  SampleResult result;
  if (!params.do_sample) {
    result.token = arg_max(scores, vocab);
    if (request.want_logprob)
      result.logprob = log_probability(scores, vocab, size_t(result.token));
  } else {
    gather_candidates(request);
    weigh();
    if (params.top_p < 1.0) filter_top_p(params.top_p);
    if (params.min_p > 0.0f) filter_min_p(params.min_p);
    if (params.typical_p < 1.0f) filter_typical(params.typical_p);
    const SampleRow& row = request.row;
    const int32_t drawn =
        draw(philox_uniform(request.seed, row.stream_hash, row.stream_lane, row.step));
    result.token = ids_[size_t(drawn)];
    if (request.want_logprob)
      result.logprob = log_probability(scores_.data(), scores_.size(), size_t(drawn));
  }
  if (request.seen) request.seen[result.token] = 1;
  return result;
}

void Sampler::gather_candidates(const SampleRequest& request) {
  const SamplingParams& params = *request.params;
  float* scores = request.scores;
  const size_t vocab = size_t(request.vocab);
  if (params.temperature != 1.0f) {
    for (size_t i = 0; i < vocab; ++i) scores[i] /= params.temperature;
  }
  const float top = largest(scores, vocab);
  if (!std::isfinite(top))
    throw Error(ErrorKind::invalid_argument,
                "Cannot sample: the largest score is " + std::to_string(top) +
                    ". The model produced invalid logits, or every token is forbidden");
  float least = -kInfinity;
  if (params.top_k > 0 && size_t(params.top_k) < vocab)
    least = kth_largest(scores, vocab, size_t(params.top_k), selection_);
  ids_.clear();
  scores_.clear();
  for (size_t i = 0; i < vocab; ++i) {
    if (scores[i] >= least && scores[i] != -kInfinity) {
      ids_.push_back(int32_t(i));
      scores_.push_back(scores[i]);
    }
  }
}

void Sampler::weigh() {
  top_ = largest(scores_.data(), scores_.size());
  weights_.resize(scores_.size());
  total_ = 0;
  for (size_t i = 0; i < scores_.size(); ++i) {
    weights_[i] = exp_rounded(scores_[i] - top_);
    total_ += weights_[i];
  }
}

template <class Keep>
void Sampler::keep_if(const Keep& keep) {
  size_t kept = 0;
  total_ = 0;
  for (size_t i = 0; i < ids_.size(); ++i) {
    if (!keep(i)) continue;
    ids_[kept] = ids_[i];
    scores_[kept] = scores_[i];
    weights_[kept] = weights_[i];
    total_ += weights_[kept++];
  }
  ids_.resize(kept);
  scores_.resize(kept);
  weights_.resize(kept);
}

void Sampler::filter_top_p(double top_p) {
  const float limit = float(1.0 - top_p);
  const float sum = float(total_);
  // Only the scores around the cut need sorting: they are first spread over buckets of width 1/64.
  constexpr int kBuckets = 4096;
  const auto bucket_of = [&](float score) {
    return int(std::min((top_ - score) * 64.0f, float(kBuckets - 1)));
  };
  bucket_mass_.assign(kBuckets, 0.0);
  for (size_t i = 0; i < scores_.size(); ++i)
    bucket_mass_[size_t(bucket_of(scores_[i]))] += weights_[i] / sum;

  double cumulative = 0;
  int cut = kBuckets - 1;
  while (cut > 0 && float(cumulative + bucket_mass_[size_t(cut)]) <= limit)
    cumulative += bucket_mass_[size_t(cut--)];

  // The best bucket holds the best score, so it is never empty; the last id of all stays.
  order_.clear();
  for (size_t i = 0; i < scores_.size(); ++i) {
    if (bucket_of(scores_[i]) == cut) order_.push_back(int32_t(i));
  }
  std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) {
    const float x = scores_[size_t(a)], y = scores_[size_t(b)];
    return x < y || (x == y && a < b);
  });
  size_t dropped = 0;
  while (dropped < order_.size()) {
    if (cut == 0 && dropped + 1 == order_.size()) break;
    cumulative += weights_[size_t(order_[dropped])] / sum;
    if (float(cumulative) > limit) break;
    ++dropped;
  }
  if (dropped == order_.size()) {
    keep_if([&](size_t i) { return bucket_of(scores_[i]) < cut; });
    return;
  }
  const size_t first = size_t(order_[dropped]);
  const float least = scores_[first];
  keep_if([&, first_id = ids_[first]](size_t i) {
    return scores_[i] > least || (scores_[i] == least && ids_[i] >= first_id);
  });
}

void Sampler::filter_min_p(float min_p) {
  const float sum = float(total_);
  const float limit = min_p * (*std::max_element(weights_.begin(), weights_.end()) / sum);
  keep_if([&](size_t i) { return !(weights_[i] / sum < limit); });
}

void Sampler::filter_typical(float mass) {
  const size_t count = scores_.size();
  double exponentials = 0;
  for (const float score : scores_) exponentials += std::exp(double(score - top_));
  const float shift = float(std::log(exponentials));
  double sum = 0;
  selection_.resize(count);
  for (size_t i = 0; i < count; ++i) {
    const float log_p = (scores_[i] - top_) - shift;
    selection_[i] = log_p;
    const float term = log_p * float(std::exp(double(log_p)));
    sum += term;
  }
  const float entropy = float(-sum);
  for (float& distance : selection_) distance = std::abs(-distance - entropy);

  order_.resize(count);
  std::iota(order_.begin(), order_.end(), 0);
  std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) {
    const float x = selection_[size_t(a)], y = selection_[size_t(b)];
    return x < y || (x == y && a < b);
  });
  const float divisor = float(total_);
  double cumulative = 0;
  size_t last = 0;
  for (const int32_t i : order_) {
    cumulative += weights_[size_t(i)] / divisor;
    if (!(float(cumulative) < mass)) break;
    ++last;
  }
  const float limit = selection_[size_t(order_[std::min(last, count - 1)])];
  keep_if([&](size_t i) { return selection_[i] <= limit; });
  // The best score may be among those that went.
  weigh();
}

int32_t Sampler::draw(double u) const {
  const double target = u * total_;
  double sum = 0;
  int32_t last = 0;
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (weights_[i] > 0) last = int32_t(i);
    sum += weights_[i];
    if (sum > target) return int32_t(i);
  }
  return last;
}

}  // namespace komt
