// Prefill and decode attention against float64, on every padded and exact head size, around the tiles'
// edges; and what the library promises of their bits.
#include "attention/problem.h"
#include "attention/split.h"

namespace komt::test::attention {
namespace {

template <class T>
void compare(Heads heads, const std::vector<Sequence>& sequences, int window = 0) {
  Case c("%s %d/%d heads of %d, %zu sequences from %d/%d, window %d", type_name<T>(), heads.query,
         heads.kv, heads.dim, sequences.size(), sequences[0].new_tokens, sequences[0].kv_length,
         window);
  const Problem<T> problem(heads, streams<T>(sequences, heads), window);
  const std::vector<T> output = problem.run(c);
  if (!output.empty()) {
    c.close("output", output, problem.expected(), tolerance<T>(), problem.columns());
  }
}

// Every instantiation of the prefill kernel: exact and padded sizes.
constexpr int kHeadDims[] = {8, 32, 40, 64, 80, 96, 104, 128, 160, 256};

template <class T>
void prefill_head_sizes() {
  for (const int dim : kHeadDims) compare<T>({2, 1, dim}, {{2, 2}, {70, 70}});
}

template <class T>
void prefill_edges() {
  // Around a 16-row tile, a warp's 32 rows, a page of keys and a block of 128 queries.
  compare<T>({1, 1, 64}, {{15, 15}, {16, 16}, {17, 17}, {33, 33}, {63, 63}, {64, 64}, {65, 65}});
  compare<T>({1, 1, 64}, {{127, 127}, {128, 128}, {129, 129}});
  compare<T>({6, 3, 64}, {{20, 20}});
  compare<T>({5, 1, 64}, {{20, 20}});
}

template <class T>
void prefill_chunks() {
  compare<T>({2, 2, 64}, {{100, 2}, {65, 3}, {64, 40}, {130, 66}, {192, 64}});
}

template <class T>
void prefill_windows() {
  for (const int window : {1, 2, 63, 64, 65, 1000}) {
    compare<T>({1, 1, 64}, {{150, 150}, {190, 20}, {3, 3}}, window);
  }
}

template <class T>
void decode_head_sizes() {
  for (const int dim : kHeadDims) compare<T>({2, 1, dim}, {{1, 1}, {70, 1}, {200, 1}});
}

template <class T>
void decode_edges() {
  // Around a warp's 16 keys, a page, a part of two pages; then four parts.
  compare<T>({1, 1, 64}, {{1, 1}, {15, 1}, {16, 1}, {17, 1}, {63, 1}, {64, 1}, {65, 1}});
  compare<T>({1, 1, 64}, {{127, 1}, {128, 1}, {129, 1}, {450, 1}, {5, 1}});
}

template <class T>
void decode_groups() {
  for (const Heads heads : {Heads{8, 1, 64}, Heads{16, 1, 64}, Heads{17, 1, 64}, Heads{40, 2, 32}}) {
    compare<T>(heads, {{150, 1}, {3, 1}});
  }
}

template <class T>
void decode_many_parts() {
  // More parts than a merging warp loads together, and parts that the merge makes longer for groups.
  compare<T>({1, 1, 64}, {{4500, 1}, {129, 1}});
  compare<T>({8, 1, 64}, {{2600, 1}, {1025, 1}});
  compare<T>({17, 1, 32}, {{1500, 1}});
  compare<T>({3, 1, 256}, {{1200, 1}});
  compare<T>({6, 3, 40}, {{2300, 1}, {1000, 1}}, 2100);
}

template <class T>
void decode_windows() {
  for (const int window : {1, 5, 64, 65, 200, 1000}) {
    compare<T>({2, 1, 64}, {{330, 1}, {64, 1}, {65, 1}, {2, 1}}, window);
  }
}

template <class T>
void mixed_batches() {
  compare<T>({4, 2, 80}, {{90, 1}, {40, 40}, {1, 1}, {130, 1}, {100, 7}});
}

KOMT_KERNEL_TEST(attention_prefill_head_sizes) {
  prefill_head_sizes<half>();
  prefill_head_sizes<bfloat16>();
}
KOMT_KERNEL_TEST(attention_prefill_edges) {
  prefill_edges<half>();
  prefill_edges<bfloat16>();
}
KOMT_KERNEL_TEST(attention_prefill_chunks) {
  prefill_chunks<half>();
  prefill_chunks<bfloat16>();
}
KOMT_KERNEL_TEST(attention_prefill_windows) { prefill_windows<half>(); }
KOMT_KERNEL_TEST(attention_decode_head_sizes) {
  decode_head_sizes<half>();
  decode_head_sizes<bfloat16>();
}
KOMT_KERNEL_TEST(attention_decode_edges) {
  decode_edges<half>();
  decode_edges<bfloat16>();
}
KOMT_KERNEL_TEST(attention_decode_groups) { decode_groups<half>(); }
KOMT_KERNEL_TEST(attention_decode_many_parts) {
  decode_many_parts<half>();
  decode_many_parts<bfloat16>();
}
KOMT_KERNEL_TEST(attention_decode_windows) { decode_windows<bfloat16>(); }
KOMT_KERNEL_TEST(attention_mixed_batches) {
  mixed_batches<half>();
  mixed_batches<bfloat16>();
}

// Parts cover all pages, none is empty, and there is scratch memory for those of every shorter sequence.
KOMT_KERNEL_TEST(attention_splits) {
  using kernels::kMaxSplitPages;
  using kernels::max_splits_of;
  using kernels::split_plan;
  if (schedule_seed() != 0) return;
  for (const int tiles : {1, 2, 3, 8, 32, 40, 41, 511, 512, 513, 5000}) {
    for (const int rows : {1, 2, 8, 16}) {
      Case c("%d tiles of %d rows", tiles, rows);
      bool covered = true;
      int most = 0;
      for (int pages = 1; pages < 20000; ++pages) {
        const kernels::SplitPlan plan = split_plan(pages, tiles, rows);
        covered = covered && plan.pages_per_split <= kMaxSplitPages &&
                  plan.splits * plan.pages_per_split >= pages &&
                  (plan.splits - 1) * plan.pages_per_split < pages;
        most = std::max(most, plan.splits);
        covered = covered && most <= max_splits_of(pages, tiles);
      }
      c.check(covered, "a plan leaves pages out, has an empty part or more than there is room for");
    }
  }
  Case c("the longest sequence there can be");
  const int pages = std::numeric_limits<std::int32_t>::max() / kPage;
  const kernels::SplitPlan plan = split_plan(pages, 5000, 16);
  c.check(plan.pages_per_split == kMaxSplitPages && plan.splits <= max_splits_of(pages, 5000),
          "%d parts of %d pages", plan.splits, plan.pages_per_split);
}

// A sequence's rows have the same bits alone and among others, on other pages.
KOMT_KERNEL_TEST(attention_is_independent_of_the_batch) {
  const Heads heads{4, 2, 64};
  const std::vector<Sequence> sequences = {{200, 1}, {70, 70}, {330, 1}, {100, 5}, {1, 1}};
  const std::vector<Stream<half>> all = streams<half>(sequences, heads);
  for (const int window : {0, 50}) {
    Case c("window %d", window);
    const Problem<half> together(heads, all, window);
    const std::vector<half> output = together.run(c);
    if (output.empty()) continue;
    std::size_t at = 0;
    for (const Stream<half>& stream : all) {
      const std::vector<half> alone = Problem<half>(heads, {stream}, window, 7).run(c);
      c.identical("rows of one sequence",
                  std::vector<half>(output.begin() + at, output.begin() + at + alone.size()), alone,
                  together.columns());
      at += alone.size();
    }
  }
}

// A prompt's rows have the same bits whole and in chunks of two tokens or more.
KOMT_KERNEL_TEST(attention_is_independent_of_the_chunks) {
  const Heads heads{2, 1, 64};
  for (const int window : {0, 70}) {
    Case c("window %d", window);
    const Stream<half> prompt({180, 180}, heads, 3);
    const std::vector<half> whole = Problem<half>(heads, {prompt}, window).run(c);
    if (whole.empty()) continue;
    const std::size_t row = std::size_t(heads.query) * heads.dim;
    int begin = 0;
    for (const int end : {3, 67, 130, 178, 180}) {
      Stream<half> chunk = prompt;
      chunk.lengths = {end, end - begin};
      chunk.query.resize(end * row);
      const std::vector<half> part = Problem<half>(heads, {chunk}, window).run(c);
      c.identical("rows of one chunk",
                  std::vector<half>(whole.begin() + begin * row, whole.begin() + end * row), part,
                  int(row));
      begin = end;
    }
  }
}

// The scores' largest terms cancel: exponentials of differences, never of scores.
KOMT_KERNEL_TEST(attention_survives_large_scores) {
  const Heads heads{1, 1, 64};
  for (const int new_tokens : {1, 66}) {
    Case c("%d new tokens", new_tokens);
    Stream<half> stream({200, new_tokens}, heads, 5);
    for (half& x : stream.query) x = from_float<half>(to_float(x) * 60);
    for (half& x : stream.keys) x = from_float<half>(to_float(x) * 60);
    const Problem<half> problem(heads, {stream});
    const std::vector<half> output = problem.run(c);
    // Scores reach 30,000, of which float32 holds differences to 2e-3.
    if (!output.empty()) c.close("output", output, problem.expected(), {2e-2, 2e-2}, heads.dim);
  }
}

KOMT_KERNEL_TEST(attention_refuses_what_it_cannot_do) {
  kernels::AttentionArgs good;
  good.num_sequences = 1;
  good.max_new_tokens = 1;
  good.max_kv_length = 1000;
  good.num_heads = 4;
  good.num_kv_heads = 2;
  good.head_dim = 64;
  good.scale = 0.125f;
  const auto refuse = [&](const char* what, auto change) {
    Case c("%s", what);
    kernels::AttentionArgs args = good;
    change(args);
    c.refused(kernels::attention(args, nullptr));
  };
  refuse("heads that don't divide", [](auto& a) { a.num_kv_heads = 3; });
  refuse("head size 12", [](auto& a) { a.head_dim = 12; });
  refuse("head size 264", [](auto& a) { a.head_dim = 264; });
  refuse("float32", [](auto& a) { a.type = kernels::ElementType::f32; a.max_kv_length = 1; });
  refuse("no scale", [](auto& a) { a.scale = 0; });
  refuse("a split without scratch memory", [](auto&) {});
  Case c("no sequences");
  kernels::AttentionArgs args = good;
  args.num_sequences = 0;
  c.ran(kernels::attention(args, nullptr));
}

}  // namespace
}  // namespace komt::test::attention
