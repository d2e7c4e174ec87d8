// The generator, and the host sampler against a literal transcription of its specification.
#include "engine/sample_state.h"
#include "engine/sampling.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>

#include "engine/error.h"
#include "engine/philox.h"
#include "support.h"

namespace komt::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST("philox: Random123's known answers") {
  using Words = std::array<uint32_t, 4>;
  CHECK((philox4x32({0, 0, 0, 0}, {0, 0}) ==
         Words{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  CHECK((philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) ==
         Words{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  CHECK((philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u},
                    {0xa4093822u, 0x299f31d0u}) ==
         Words{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
  // Where seed, hash, lane and step stand in key and counter.
  const auto words = philox4x32({7, 3, 0x89abcdefu, 0x01234567u}, {0x55667788u, 0x11223344u});
  CHECK(philox_uniform(0x1122334455667788u, 0x0123456789abcdefu, 3, 7) ==
        (double(words[0]) * 0x1p21 + double(words[1] >> 11)) * 0x1p-53);
}

// ---- the specification, with full sorts ----------------------------------------------------------

std::vector<float> softmax(const std::vector<float>& scores) {
  const float top = *std::max_element(scores.begin(), scores.end());
  std::vector<float> p;
  double sum = 0;
  for (const float s : scores) {
    p.push_back(float(std::exp(double(s - top))));
    sum += p.back();
  }
  for (float& x : p) x /= float(sum);
  return p;
}

std::vector<int> ascending(const std::vector<float>& values) {
  std::vector<int> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return values[size_t(a)] < values[size_t(b)]; });
  return order;
}

std::vector<float> processed(std::vector<float> s, const SamplingParams& p, bool mask_eos,
                             const std::vector<int32_t>& eos, const std::vector<uint8_t>& seen) {
  const size_t vocab = s.size();
  for (size_t i = 0; i < seen.size(); ++i) {
    if (seen[i]) s[i] = s[i] < 0 ? s[i] * p.repetition_penalty : s[i] / p.repetition_penalty;
  }
  if (mask_eos) {
    for (const int32_t id : eos) s[size_t(id)] = -kInfinity;
  }
  if (!p.do_sample) return s;
  for (float& x : s) x /= p.temperature;
  if (p.top_k > 0 && size_t(p.top_k) < vocab) {
    auto sorted = s;
    std::sort(sorted.begin(), sorted.end(), std::greater<float>());
    for (float& x : s) x = x < sorted[size_t(p.top_k) - 1] ? -kInfinity : x;
  }
  if (p.top_p < 1) {
    const auto probabilities = softmax(s);
    const auto order = ascending(s);
    double cumulative = 0;
    for (size_t i = 0; i + 1 < vocab; ++i) {
      cumulative += probabilities[size_t(order[i])];
      if (float(cumulative) > float(1 - double(p.top_p))) break;
      s[size_t(order[i])] = -kInfinity;
    }
  }
  if (p.min_p > 0) {
    const auto probabilities = softmax(s);
    const float limit = p.min_p * *std::max_element(probabilities.begin(), probabilities.end());
    for (size_t i = 0; i < vocab; ++i) s[i] = probabilities[i] < limit ? -kInfinity : s[i];
  }
  if (p.typical_p < 1) {
    const float top = *std::max_element(s.begin(), s.end());
    double sum = 0, entropy = 0;
    for (const float x : s) sum += std::exp(double(x - top));
    std::vector<float> distance;
    for (const float x : s) {
      const float log_p = (x - top) - float(std::log(sum));
      distance.push_back(log_p);
      const float term = log_p * float(std::exp(double(log_p)));
      if (!std::isnan(term)) entropy -= term;
    }
    for (float& d : distance) d = std::abs(-d - float(entropy));
    const auto probabilities = softmax(s);
    const auto order = ascending(distance);
    double cumulative = 0;
    size_t last = 0;
    for (const int i : order) {
      cumulative += probabilities[size_t(i)];
      if (!(float(cumulative) < p.typical_p)) break;
      ++last;
    }
    const float limit = distance[size_t(order[std::min(last, vocab - 1)])];
    for (size_t i = 0; i < vocab; ++i) s[i] = distance[i] > limit ? -kInfinity : s[i];
  }
  return s;
}

int32_t drawn(const std::vector<float>& s, double u) {
  const float top = *std::max_element(s.begin(), s.end());
  double total = 0, sum = 0;
  for (const float x : s) total += float(std::exp(double(x - top)));
  for (size_t i = 0; i < s.size(); ++i) {
    sum += float(std::exp(double(s[i] - top)));
    if (sum > u * total) return int32_t(i);
  }
  return -1;
}

SampleResult choose(Sampler& sampler, std::vector<float> scores, const SamplingParams& params,
                    const SampleRow& row, const std::vector<int32_t>& eos = {},
                    uint8_t* seen = nullptr, uint64_t seed = 1, bool mask_eos = false) {
  SampleRequest request;
  request.scores = scores.data();
  request.vocab = int(scores.size());
  request.params = &params;
  request.row = row;
  request.mask_eos = mask_eos;
  request.eos_token_ids = eos;
  request.seed = seed;
  request.seen = seen;
  request.want_logprob = true;
  return sampler.sample(request);
}

TEST("sampler: any settings, against the specification with full sorts") {
  Sampler sampler;
  Random random(21);
  int sampled_not_best = 0;
  for (int round = 0; round < 3000; ++round) {
    const int vocab = random.integer(0, 9) ? random.integer(1, 400) : random.integer(3000, 6000);
    auto scores = random.normal(size_t(vocab), float(random.integer(1, 8)));
    // Ties, at the borders of top_k and top_p too.
    if (random.integer(0, 1)) {
      for (float& x : scores) x = std::round(x);
    }
    for (float& x : scores) {
      if (random.integer(0, 15) == 0) x = -kInfinity;
    }
    scores[size_t(random.integer(0, vocab - 1))] = 2;
    SamplingParams p;
    p.do_sample = random.integer(0, 7) != 0;
    p.temperature = random.integer(0, 1) ? 1.0f : float(0.2 + 2 * random.uniform());
    p.top_k = random.integer(0, 2) ? random.integer(1, vocab + 5) : 0;
    p.top_p = random.integer(0, 2) ? float(random.uniform()) : 1.0f;
    p.min_p = random.integer(0, 2) ? 0.0f : float(random.uniform() * random.uniform());
    p.typical_p = random.integer(0, 2) ? 1.0f : float(0.02 + 0.9 * random.uniform());
    p.repetition_penalty = random.integer(0, 1) ? 1.0f : float(0.5 + 1.5 * random.uniform());
    const bool mask_eos = vocab > 3 && random.integer(0, 1);
    std::vector<int32_t> eos;
    if (mask_eos) {
      for (int32_t i = 0; i < 2; ++i) {
        if (scores[size_t(i)] != 2) eos.push_back(i);
      }
    }
    std::vector<uint8_t> seen(size_t(vocab), 0);
    for (uint8_t& s : seen) s = random.integer(0, 3) == 0;
    SampleRow row;
    row.stream_hash = random.engine()();
    row.stream_lane = uint32_t(round);
    row.step = uint32_t(random.integer(0, 1000));
    const uint64_t seed = uint64_t(random.engine()()) << 32 | random.engine()();

    const auto expected = processed(scores, p, mask_eos, eos, seen);
    const auto best = std::max_element(expected.begin(), expected.end()) - expected.begin();
    const int32_t token =
        p.do_sample
            ? drawn(expected, philox_uniform(seed, row.stream_hash, row.stream_lane, row.step))
            : int32_t(best);
    auto marked = seen;
    const SampleResult found = choose(sampler, scores, p, row, eos, marked.data(), seed, mask_eos);
    CHECK_THAT(found.token == token, "round " + std::to_string(round) + ": found " +
                                         std::to_string(found.token) + ", expected " +
                                         std::to_string(token));
    sampled_not_best += token != int32_t(best);
    double sum = 0;
    for (const float s : expected) sum += std::exp(double(s) - double(expected[size_t(best)]));
    const double logprob = double(expected[size_t(token)]) - double(expected[size_t(best)]) - std::log(sum);
    CHECK(std::abs(found.logprob - logprob) <= 2e-6 * (1 + std::abs(logprob)));
    seen[size_t(token)] = 1;
    CHECK(marked == seen);
  }
  // The draws are not all of the best token, which a sampler that never draws would pass.
  CHECK(sampled_not_best > 500);
}

TEST("sampler: greedy takes the first of equals, NaN before all") {
  Sampler sampler;
  const SamplingParams greedy;
  CHECK(choose(sampler, {1, 3, -2, 3}, greedy, {}).token == 1);
  CHECK(choose(sampler, {-kInfinity, -kInfinity}, greedy, {}).token == 0);
  CHECK(choose(sampler, {1, 3, kNaN, kNaN}, greedy, {}).token == 2);
  CHECK(choose(sampler, {5}, greedy, {}).token == 0);
  std::vector<float> many(1000, -1.0f);
  many[517] = many[901] = 4;
  CHECK(choose(sampler, many, greedy, {}).token == 517);
}

TEST("sampler: scores that cannot be sampled from") {
  Sampler sampler;
  SamplingParams p;
  p.do_sample = true;
  for (const float bad : {kNaN, kInfinity}) {
    bool threw = false;
    try {
      choose(sampler, {1, bad, 2}, p, {});
    } catch (const Error& e) {
      threw = e.kind() == ErrorKind::invalid_argument;
    }
    CHECK(threw);
  }
  bool threw = false;
  try {
    choose(sampler, {-kInfinity, -kInfinity}, p, {});
  } catch (const Error&) {
    threw = true;
  }
  CHECK(threw);
}

TEST("sampler: top_p keeps the sets that transformers keeps") {
  Sampler sampler;
  const std::vector<float> scores = {std::log(0.3f), std::log(0.1f), std::log(0.1f), std::log(0.5f)};
  const std::pair<float, std::vector<int>> expectations[] = {
      {0.81f, {0, 2, 3}}, {0.79f, {0, 3}}, {0.49f, {3}}, {0.0f, {3}}, {1.0f, {0, 1, 2, 3}}};
  for (const auto& [top_p, kept] : expectations) {
    SamplingParams p;
    p.do_sample = true;
    p.top_p = top_p;
    std::vector<int> counts(4, 0);
    for (uint32_t step = 0; step < 300; ++step) {
      SampleRow row;
      row.step = step;
      ++counts[size_t(choose(sampler, scores, p, row).token)];
    }
    for (int i = 0; i < 4; ++i) {
      const bool expected = std::find(kept.begin(), kept.end(), i) != kept.end();
      CHECK_THAT((counts[size_t(i)] > 0) == expected,
                 "top_p " + std::to_string(top_p) + ", id " + std::to_string(i));
    }
  }
}

TEST("sampler: draws follow the probabilities (chi-square)") {
  Sampler sampler;
  Random random(22);
  const int vocab = 40, draws = 200000;
  const auto scores = random.normal(vocab, 1);
  SamplingParams p;
  p.do_sample = true;
  std::vector<int> counts(vocab, 0);
  for (int i = 0; i < draws; ++i) {
    SampleRow row;
    row.stream_hash = uint64_t(i % 100) * 0x9e3779b97f4a7c15u;
    row.stream_lane = uint32_t(i / 100 % 20);
    row.step = uint32_t(i / 2000);
    ++counts[size_t(choose(sampler, scores, p, row).token)];
  }
  double total = 0, statistic = 0;
  for (const float s : scores) total += std::exp(double(s));
  for (int i = 0; i < vocab; ++i) {
    const double expected = draws * std::exp(double(scores[size_t(i)])) / total;
    statistic += std::pow(counts[size_t(i)] - expected, 2) / expected;
  }
  // 39 degrees of freedom: above 72.1 once in a thousand, below 15.4 too.
  CHECK_THAT(statistic < 72.1 && statistic > 15.4, "chi-square " + std::to_string(statistic));
}

TEST("sampler: a backend samples rows alike alone and together, on any number of threads") {
  Random random(23);
  const int rows = 5, vocab = 777;
  const auto logits = random.normal(size_t(rows * vocab), 3);
  SamplingParams params;
  params.do_sample = true;
  params.top_k = 50;
  params.top_p = 0.9f;
  params.repetition_penalty = 1.2f;
  std::vector<SampleRow> infos(rows);
  for (int r = 0; r < rows; ++r) infos[size_t(r)].stream_hash = uint64_t(r) * 77;
  const auto run = [&](int threads, int chunk, std::vector<float>& logprobs) {
    auto backend = create_cpu_backend({threads, ""});
    auto scores = logits;
    std::vector<uint8_t> seen(size_t(rows * vocab), 0);
    for (size_t i = 0; i < seen.size(); i += 3) seen[i] = 1;
    std::vector<int32_t> tokens(rows, -1);
    logprobs.assign(rows, kNaN);
    for (int r = 0; r < rows; r += chunk) {
      const int n = std::min(chunk, rows - r);
      SampleArgs args;
      args.logits = {scores.data() + r * vocab, DType::f32, n, vocab};
      args.params = &params;
      SampleState state(*backend, n, {}, 0);
      state.set(std::span(infos).subspan(size_t(r), size_t(n)));
      args.rows = state.rows();
      args.seed = 99;
      args.seen = seen.data() + r * vocab;
      args.tokens = tokens.data() + r;
      args.logprobs = logprobs.data() + r;
      backend->sample(args);
    }
    for (int r = 0; r < rows; ++r) CHECK(seen[size_t(r * vocab + tokens[size_t(r)])] == 1);
    return tokens;
  };
  std::vector<float> expected_logprobs, logprobs;
  const auto expected = run(1, rows, expected_logprobs);
  for (const int threads : {1, 2, 3}) {
    for (const int chunk : {1, 2, rows}) {
      CHECK(run(threads, chunk, logprobs) == expected);
      CHECK(logprobs == expected_logprobs);
    }
  }
}

}  // namespace
}  // namespace komt::test
