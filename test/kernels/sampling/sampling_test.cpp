// Greedy and random choices against the plain sampler: the same token, for every filter alone and all
// of them together, with ties, over the edges of slices and blocks; and scoring against float64.
#include "sampling/reference.h"

#include "harness.h"

namespace komt::test::sampling {
namespace {

using kernels::SamplingSettings;

struct Rows {
  int vocab;
  std::vector<std::vector<float>> logits;
  std::vector<std::vector<std::uint8_t>> seen;  // none without a penalty
  std::vector<std::int32_t> eos;
  std::vector<std::uint32_t> min_steps;
  std::vector<Stream> streams;
  std::uint64_t seed = 0x123456789abcdef0u;

  int count() const { return int(logits.size()); }
};

template <class T>
std::vector<T> flattened(const std::vector<std::vector<T>>& rows) {
  std::vector<T> flat;
  for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
  return flat;
}

struct Outcome {
  std::vector<std::int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<std::uint8_t> seen;
};

bool run(Case& c, const Rows& rows, const SamplingSettings& settings, Outcome& outcome,
         bool want_logprobs = true) {
  DeviceBuffer<float> logits(flattened(rows.logits));
  DeviceBuffer<std::uint8_t> seen(flattened(rows.seen));
  const DeviceBuffer<std::int32_t> eos(rows.eos);
  const DeviceBuffer<std::uint32_t> min_steps(rows.min_steps);
  std::vector<std::uint64_t> hashes;
  std::vector<std::uint32_t> lanes, steps;
  for (const Stream& s : rows.streams) {
    hashes.push_back(s.hash);
    lanes.push_back(s.lane);
    steps.push_back(s.step);
  }
  const DeviceBuffer<std::uint64_t> hash_buffer(hashes);
  const DeviceBuffer<std::uint32_t> lane_buffer(lanes), step_buffer(steps);
  DeviceBuffer<std::int32_t> tokens(rows.count());
  DeviceBuffer<float> logprobs(rows.count());
  DeviceBuffer<unsigned char> workspace(
      kernels::sample_workspace_bytes(rows.count(), rows.vocab, settings.do_sample));
  const std::vector<std::uint32_t> zeros(rows.count(), 0);
  DeviceBuffer<std::uint32_t> tickets(zeros);
  kernels::SampleArgs args;
  args.logits = logits.data();
  args.rows = rows.count();
  args.vocab = rows.vocab;
  args.settings = settings;
  args.eos_token_ids = eos.data();
  args.num_eos = int(rows.eos.size());
  args.min_steps = rows.min_steps.empty() ? nullptr : min_steps.data();
  args.steps = step_buffer.data();
  args.seed = rows.seed;
  args.stream_hashes = hash_buffer.data();
  args.stream_lanes = lane_buffer.data();
  args.seen = rows.seen.empty() ? nullptr : seen.data();
  args.tokens = tokens.data();
  args.logprobs = want_logprobs ? logprobs.data() : nullptr;
  args.workspace = workspace.data();
  args.tickets = tickets.data();
  if (!c.ran(kernels::sample(args, nullptr))) return false;
  outcome.tokens = tokens.host();
  if (want_logprobs) outcome.logprobs = logprobs.host();
  outcome.seen = seen.host();
  c.identical("tickets", tickets.host(), zeros);
  return true;
}

Choice expected_choice(const Rows& rows, int row, const SamplingSettings& settings) {
  const bool masked =
      !rows.min_steps.empty() && rows.streams[row].step < rows.min_steps[row];
  Reference reference(settings, rows.logits[row],
                      rows.seen.empty() ? std::vector<std::uint8_t>{} : rows.seen[row],
                      masked ? rows.eos : std::vector<std::int32_t>{});
  return settings.do_sample ? reference.draw(uniform(rows.seed, rows.streams[row]))
                            : reference.greedy();
}

// The reference adds in another order than the kernel; closer to a boundary than this, either token is
// right. No case comes that close.
constexpr double kLeastMargin = 1e-12;

void compare(const char* what, const Rows& rows, const SamplingSettings& settings,
             bool want_logprobs = true) {
  Case c("%s, %d rows of %d%s", what, rows.count(), rows.vocab, want_logprobs ? "" : ", no logprobs");
  Outcome outcome;
  if (!run(c, rows, settings, outcome, want_logprobs)) return;
  std::vector<std::int32_t> tokens;
  std::vector<double> logprobs;
  auto seen = rows.seen;
  for (int row = 0; row < rows.count(); ++row) {
    const Choice choice = expected_choice(rows, row, settings);
    c.check(choice.margin > kLeastMargin, "row %d is a tie (%g): choose other data", row,
            choice.margin);
    tokens.push_back(choice.token);
    logprobs.push_back(choice.logprob);
    if (!seen.empty()) seen[row][choice.token] = 1;
  }
  c.identical("tokens", outcome.tokens, tokens);
  if (want_logprobs) c.close("logprobs", outcome.logprobs, logprobs, {2e-6, 2e-7});
  c.identical("seen", outcome.seen, flattened(seen));
}

Rows random_rows(int count, int vocab, double deviation, std::uint64_t seed) {
  Rows rows;
  rows.vocab = vocab;
  Random random(seed);
  for (int row = 0; row < count; ++row) {
    rows.logits.push_back(random.normal<float>(vocab, deviation));
    rows.streams.push_back({random.below(~0ull), std::uint32_t(row % 3), std::uint32_t(row * 7)});
  }
  return rows;
}

void with_seen(Rows& rows, std::uint64_t seed) {
  Random random(seed);
  for (int row = 0; row < rows.count(); ++row) {
    std::vector<std::uint8_t> marks(rows.vocab);
    for (auto& mark : marks) mark = random.below(3) == 0;
    rows.seen.push_back(marks);
  }
}

void with_eos(Rows& rows) {
  // The best ids are the eos ids, masked in every other row.
  rows.eos = {0, rows.vocab - 1};
  for (int row = 0; row < rows.count(); ++row) {
    for (const std::int32_t id : rows.eos) rows.logits[row][id] = 30;
    rows.min_steps.push_back(rows.streams[row].step + std::uint32_t(row % 2));
  }
}

// Scores on a grid: many equal ones, and both zeros.
void with_ties(Rows& rows) {
  for (auto& row : rows.logits) {
    for (float& x : row) x = std::round(x);
  }
}

SamplingSettings drawing() {
  SamplingSettings settings;
  settings.do_sample = true;
  return settings;
}

KOMT_KERNEL_TEST(greedy_sizes) {
  // Around a warp, a block's first round, a slice and two, and more slices than a warp has lanes.
  for (const int vocab : {1, 31, 32, 257, 4095, 4096, 4097, 8193, 140000}) {
    const Rows rows = random_rows(vocab > 100000 ? 1 : 3, vocab, 3, vocab);
    compare("normal", rows, {});
    compare("normal", rows, {}, false);
  }
}

KOMT_KERNEL_TEST(greedy_ties_and_odd_numbers) {
  Rows rows = random_rows(4, 9000, 2, 5);
  with_ties(rows);
  compare("ties", rows, {});
  rows = random_rows(5, 5000, 2, 6);
  rows.logits[0].assign(5000, 0.0f);
  rows.logits[1].assign(5000, -3.0f);
  rows.logits[2].assign(5000, -INFINITY);
  rows.logits[3][4321] = NAN;
  rows.logits[3][4500] = NAN;
  rows.logits[4].assign(5000, -0.0f);
  rows.logits[4][4900] = 0.0f;
  compare("odd numbers", rows, {});
}

KOMT_KERNEL_TEST(greedy_processors) {
  Rows rows = random_rows(4, 5000, 2, 7);
  with_seen(rows, 1);
  with_eos(rows);
  for (const float penalty : {1.0f, 1.3f, 0.7f}) {
    SamplingSettings settings;
    settings.repetition_penalty = penalty;
    compare("penalty and eos", rows, settings);
  }
}

KOMT_KERNEL_TEST(draw_philox) {
  // Random123's known answers fix the generator; flat logits turn its number into the token.
  Case c("known answers");
  c.check(uniform(0, {0, 0, 0}) == double((0x6627e8d5ull << 32 | 0xe169c58dull) >> 11) * 0x1p-53,
          "zeros");
  c.check(uniform(0x299f31d0a4093822ull, {0x0370734413198a2eull, 0x85a308d3u, 0x243f6a88u}) ==
              double((0xd16cfe09ull << 32 | 0x94fdccebull) >> 11) * 0x1p-53,
          "digits of pi");
  Rows rows = random_rows(8, 4096, 0, 3);
  rows.streams[0] = {0x0370734413198a2eull, 0x85a308d3u, 0x243f6a88u};
  rows.seed = 0x299f31d0a4093822ull;
  compare("flat", rows, drawing());
}

KOMT_KERNEL_TEST(draw_sizes) {
  for (const int vocab : {1, 2, 31, 33, 1023, 1024, 1025, 5000, 40000}) {
    compare("normal", random_rows(3, vocab, 2, vocab), drawing());
  }
}

KOMT_KERNEL_TEST(draw_filters) {
  for (const bool ties : {false, true}) {
    Rows rows = random_rows(2, 3000, 2, ties ? 8 : 9);
    if (ties) with_ties(rows);
    const auto filter = [&](const char* what, auto change) {
      SamplingSettings settings = drawing();
      change(settings);
      compare(what, rows, settings);
    };
    filter("temperature 0.3", [](auto& s) { s.temperature = 0.3f; });
    filter("temperature 1.7", [](auto& s) { s.temperature = 1.7f; });
    for (const int k : {1, 2, 50, 2999, 3000, 5000}) filter("top_k", [k](auto& s) { s.top_k = k; });
    for (const float p : {0.0f, 0.1f, 0.5f, 0.8f, 0.95f, 0.999f}) {
      filter("top_p", [p](auto& s) { s.top_p = p; });
    }
    for (const float p : {0.05f, 0.5f, 1.0f}) filter("min_p", [p](auto& s) { s.min_p = p; });
    for (const float p : {0.2f, 0.9f, 0.999f}) filter("typical_p", [p](auto& s) { s.typical_p = p; });
    filter("all", [](auto& s) {
      s.temperature = 0.7f;
      s.top_k = 200;
      s.top_p = 0.9f;
      s.min_p = 0.02f;
      s.typical_p = 0.95f;
    });
  }
}

// Every filter behind every other, where top_k is too large for a list and where it is off.
KOMT_KERNEL_TEST(draw_filter_chains) {
  for (const bool ties : {false, true}) {
    Rows rows = random_rows(2, 5000, 2, ties ? 15 : 16);
    if (ties) with_ties(rows);
    for (const int top_k : {0, 300, 1000}) {
      for (const float top_p : {1.0f, 0.9f}) {
        for (const float min_p : {0.0f, 0.01f}) {
          for (const float typical_p : {1.0f, 0.8f}) {
            SamplingSettings settings = drawing();
            settings.top_k = top_k;
            settings.top_p = top_p;
            settings.min_p = min_p;
            settings.typical_p = typical_p;
            compare("chain", rows, settings, min_p > 0);
          }
        }
      }
    }
  }
}

// More ids tie than the list of top_k has room for.
KOMT_KERNEL_TEST(draw_flat_rows) {
  const Rows rows = random_rows(3, 5000, 0, 17);
  for (const int top_k : {0, 20, 4000}) {
    for (const float top_p : {1.0f, 0.4f}) {
      SamplingSettings settings = drawing();
      settings.top_k = top_k;
      settings.top_p = top_p;
      compare("flat", rows, settings);
      settings.min_p = 1;
      settings.typical_p = 0.9f;
      compare("flat, min_p and typical_p", rows, settings);
    }
  }
}

// Slices of more than one tile, and groups that the list of top_k visits in more than one round.
KOMT_KERNEL_TEST(draw_long_rows) {
  const Rows rows = random_rows(1, 530001, 2, 18);
  SamplingSettings settings = drawing();
  settings.top_p = 0.9f;
  compare("top_p", rows, settings);
  settings.top_k = 100;
  compare("top_k, top_p", rows, settings);
}

// Which ids survive, seen through many draws: every survivor of the reference comes up and no other.
KOMT_KERNEL_TEST(draw_survivors) {
  const std::vector<float> probabilities = {0.3f, 0.1f, 0.1f, 0.5f};
  struct Expectation {
    float top_p;
    std::vector<std::int32_t> survivors;
  };
  for (const Expectation& e : {Expectation{0.8f, {0, 3}}, Expectation{0.81f, {0, 2, 3}},
                               Expectation{0.5f, {3}}, Expectation{0.0f, {3}}}) {
    Case c("top_p %g", double(e.top_p));
    Rows rows;
    rows.vocab = 4;
    // A step for every twentieth of [0, 1): no survivor has less than a tenth of it.
    for (int row = 0; row < 20; ++row) {
      rows.logits.push_back({});
      for (const float p : probabilities) rows.logits.back().push_back(std::log(p));
      Stream stream{1, 0, 0};
      while (int(uniform(rows.seed, stream) * 20) != row) ++stream.step;
      rows.streams.push_back(stream);
    }
    SamplingSettings settings = drawing();
    settings.top_p = e.top_p;
    Outcome outcome;
    if (!run(c, rows, settings, outcome)) continue;
    std::vector<std::int32_t> drawn = outcome.tokens;
    std::sort(drawn.begin(), drawn.end());
    drawn.erase(std::unique(drawn.begin(), drawn.end()), drawn.end());
    c.identical("survivors", drawn, e.survivors);
  }
}

KOMT_KERNEL_TEST(draw_processors) {
  Rows rows = random_rows(4, 2500, 2, 11);
  with_seen(rows, 2);
  with_eos(rows);
  SamplingSettings settings = drawing();
  settings.repetition_penalty = 1.2f;
  settings.temperature = 0.9f;
  settings.top_k = 100;
  settings.top_p = 0.7f;
  compare("penalty, eos, temperature, top_k, top_p", rows, settings);
  compare("penalty, eos, temperature, top_k, top_p", rows, settings, false);
}

KOMT_KERNEL_TEST(draw_odd_numbers) {
  Rows rows = random_rows(5, 2000, 2, 12);
  std::fill(rows.logits[0].begin() + 5, rows.logits[0].end(), -INFINITY);
  for (float& x : rows.logits[1]) x *= 200;  // most weights underflow
  rows.logits[2].assign(2000, 1e30f);
  rows.logits[3].assign(2000, -1e30f);
  SamplingSettings settings = drawing();
  compare("no filter", rows, settings);
  settings.top_k = 50;
  settings.top_p = 0.9f;
  compare("top_k, top_p", rows, settings);

  Case c("rows that can't be sampled");
  Rows bad = random_rows(3, 2000, 2, 13);
  bad.logits[0][77] = NAN;
  bad.logits[1].assign(2000, -INFINITY);
  bad.logits[2][1999] = INFINITY;
  Outcome outcome;
  if (run(c, bad, settings, outcome)) {
    c.identical("tokens", outcome.tokens, std::vector<std::int32_t>(3, -1));
    c.close("logprobs", outcome.logprobs, std::vector<double>(3, NAN), {});
  }
}

KOMT_KERNEL_TEST(draw_is_independent_of_the_batch) {
  Case c("5 rows");
  const Rows rows = random_rows(5, 3000, 2, 14);
  SamplingSettings settings = drawing();
  settings.top_p = 0.95f;
  Outcome together;
  if (!run(c, rows, settings, together)) return;
  for (int row = 0; row < rows.count(); ++row) {
    Rows one = rows;
    one.logits = {rows.logits[row]};
    one.streams = {rows.streams[row]};
    Outcome alone;
    if (!run(c, one, settings, alone)) return;
    c.identical("token", alone.tokens, {together.tokens[row]});
    c.identical("logprob", alone.logprobs, {together.logprobs[row]});
  }
}

KOMT_KERNEL_TEST(scoring) {
  // Up to what a block holds in registers, in shared memory, and past both, aligned and not.
  for (const int vocab : {1, 33, 2047, 2049, 5000, 20000, 20001, 90000, 90002}) {
    Case c("vocabulary of %d", vocab);
    constexpr int kRows = 4;
    Random random(vocab);
    auto logits = random.normal<float>(std::size_t(kRows) * vocab, 5);
    for (int i = 0; i < vocab; ++i) logits[i] += 1000;                // exp overflows
    for (int i = 0; i < vocab; ++i) logits[vocab + i] -= 1000;        // exp underflows
    for (int i = 1; i < vocab; ++i) logits[2 * vocab + i] = -INFINITY;  // one id is possible
    std::vector<std::int32_t> targets(kRows), best(kRows);
    std::vector<double> expected, expected_scores;
    for (int row = 0; row < kRows; ++row) {
      const float* x = &logits[std::size_t(row) * vocab];
      best[row] = std::int32_t(std::max_element(x, x + vocab) - x);
      targets[row] = std::int32_t(random.below(vocab));
      double sum = 0;
      for (int i = 0; i < vocab; ++i) sum += std::exp(double(x[i]) - x[best[row]]);
      for (int i = 0; i < vocab; ++i) expected.push_back(double(x[i]) - x[best[row]] - std::log(sum));
      expected_scores.push_back(expected[std::size_t(row) * vocab + targets[row]]);
    }
    const DeviceBuffer<float> input(logits);
    DeviceBuffer<float> output(logits.size()), logprobs(kRows);
    const DeviceBuffer<std::int32_t> target_buffer(targets);
    DeviceBuffer<std::int32_t> best_buffer(kRows);
    // Differences of numbers around 1,000 are exact to 6e-5 once their sum's logarithm is added.
    const Tolerance tolerance{1.3e-4, 1e-6};
    if (c.ran(kernels::log_softmax(input.data(), output.data(), kRows, vocab, nullptr))) {
      c.close("log_softmax", output.host(), expected, tolerance, vocab);
    }
    const kernels::ScoreTokensArgs args{input.data(), target_buffer.data(), logprobs.data(),
                                        best_buffer.data(), kRows, vocab};
    if (c.ran(kernels::score_tokens(args, nullptr))) {
      c.close("logprobs", logprobs.host(), expected_scores, tolerance);
      c.identical("best", best_buffer.host(), best);
    }
  }
}

KOMT_KERNEL_TEST(sampling_refuses) {
  kernels::SampleArgs good;
  std::uint32_t word = 0;
  std::uint64_t hash = 0;
  good.rows = 1;
  good.vocab = 10;
  good.tickets = &word;
  good.steps = good.stream_lanes = &word;
  good.stream_hashes = &hash;
  good.settings = drawing();
  const auto refuse = [&](const char* what, auto change) {
    Case c("%s", what);
    kernels::SampleArgs args = good;
    change(args);
    c.refused(kernels::sample(args, nullptr));
  };
  refuse("no vocabulary", [](auto& a) { a.vocab = 0; });
  refuse("a penalty without marks", [](auto& a) { a.settings.repetition_penalty = 1.1f; });
  refuse("temperature 0", [](auto& a) { a.settings.temperature = 0; });
  refuse("negative top_k", [](auto& a) { a.settings.top_k = -1; });
  refuse("typical_p 0", [](auto& a) { a.settings.typical_p = 0; });
  refuse("no stream", [](auto& a) { a.stream_hashes = nullptr; });
  refuse("min_steps without steps", [&](auto& a) { a.min_steps = &word, a.steps = nullptr; });
  refuse("greedy without tickets", [](auto& a) { a.settings.do_sample = false, a.tickets = nullptr; });
  Case c("no rows");
  kernels::SampleArgs args = good;
  args.rows = 0;
  c.ran(kernels::sample(args, nullptr));
  c.ran(kernels::log_softmax(nullptr, nullptr, 0, 1, nullptr));
  c.refused(kernels::log_softmax(nullptr, nullptr, 1, 0, nullptr));
  c.ran(kernels::score_tokens({nullptr, nullptr, nullptr, nullptr, 0, 1}, nullptr));
  c.refused(kernels::score_tokens({nullptr, nullptr, nullptr, nullptr, 0, 0}, nullptr));
}

}  // namespace
}  // namespace komt::test::sampling
