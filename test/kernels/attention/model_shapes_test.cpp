// Attention at the sizes of whole models: 7B, 13B, 70B's grouped heads. Against float64 for some
// heads of some tokens, the first and the last among them.
#include <string>

#include "attention/problem.h"
#include "environment.h"

namespace komt::test::attention {
namespace {

int sized(int length) { return environment::full_size() ? length : length / 16; }

template <class T>
void sample(const char* model, Heads heads, Sequence sequence) {
  Case c("%s %s, %d new of %d", model, type_name<T>(), sequence.new_tokens, sequence.kv_length);
  const Problem<T> problem(heads, streams<T>({sequence}, heads));
  const std::vector<T> output = problem.run(c);
  if (output.empty()) return;
  std::vector<T> found;
  std::vector<double> expected;
  const auto look = [&](int token, int head) {
    const auto at = output.begin() + (std::ptrdiff_t(token) * heads.query + head) * heads.dim;
    found.insert(found.end(), at, at + heads.dim);
    const std::vector<double> row = problem.expected_head(token, head);
    expected.insert(expected.end(), row.begin(), row.end());
  };
  look(0, 0);
  look(sequence.new_tokens - 1, heads.query - 1);
  Random random(31);
  for (int i = 0; i < 60; ++i) {
    look(int(random.below(std::uint64_t(sequence.new_tokens))),
         int(random.below(std::uint64_t(heads.query))));
  }
  c.close("sampled heads", found, expected, tolerance<T>(), heads.dim);
  std::int64_t not_finite = 0;
  for (const T x : output) not_finite += !std::isfinite(double(to_float(x)));
  c.check(not_finite == 0, "%lld values are no numbers", static_cast<long long>(not_finite));
}

KOMT_KERNEL_TEST(attention_model_shapes) {
  const bool full = environment::full_size();
  if (!full && schedule_seed() != 0) return;  // what is tried on the emulator is this test
  const Heads model_7b = full ? Heads{32, 32, 128} : Heads{2, 2, 128};
  const Heads model_13b = full ? Heads{40, 40, 128} : Heads{3, 3, 128};
  const Heads model_70b = full ? Heads{64, 8, 128} : Heads{8, 1, 128};
  sample<half>("7B", model_7b, {sized(4096), 1});
  sample<half>("13B", model_13b, {sized(4096), 1});
  sample<bfloat16>("13B", model_13b, {sized(4096), 1});
  sample<half>("70B", model_70b, {sized(4096), 1});
  sample<half>("7B", model_7b, {sized(2048), sized(2048)});
  sample<bfloat16>("13B", model_13b, {sized(2048), sized(2048)});
  sample<half>("13B", model_13b, {sized(4096), sized(512)});
}

}  // namespace
}  // namespace komt::test::attention
