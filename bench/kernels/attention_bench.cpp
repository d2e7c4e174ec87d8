// Attention of the 7B, 13B and 70B shapes: prompts by TFLOP/s, decode by the cache's bytes.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "attention/attention.h"
#include "common/kv_page.h"
#include "harness.h"

namespace komt::bench {
namespace {

using kernels::kPageTokens;

struct Model {
  const char* name;
  int heads;
  int kv_heads;
};
constexpr int kHeadDim = 128;
constexpr Model kModels[] = {{"7B", 32, 32}, {"13B", 40, 40}, {"70B", 64, 8}};
constexpr Model kTinyModels[] = {{"tiny", 2, 2}, {"tiny grouped", 8, 1}};
std::span<const Model> models() {
  return tiny() ? std::span<const Model>(kTinyModels) : std::span<const Model>(kModels);
}

// A batch of equal sequences whose pages lie in order.
class Batch {
 public:
  Batch(Model model, int sequences, int kv_length, int new_tokens)
      : pages_((kv_length + kPageTokens - 1) / kPageTokens),
        cu_seqlens_(ascending(sequences + 1, new_tokens)),
        kv_lengths_(std::vector<std::int32_t>(sequences, kv_length)),
        block_table_(ascending(sequences * pages_)),
        tickets_(std::vector<std::uint32_t>(
            kernels::attention_tickets(sequences, model.heads, model.kv_heads), 0)),
        partials_(kernels::attention_partial_floats(sequences, kv_length, model.heads,
                                                    model.kv_heads, kHeadDim) + 1),
        query_(std::size_t(sequences) * new_tokens * model.heads * kHeadDim),
        output_(std::size_t(sequences) * new_tokens * model.heads * kHeadDim),
        keys_(cache_elements(model, sequences)),
        values_(cache_elements(model, sequences)) {
    args_.cu_seqlens = cu_seqlens_.data();
    args_.kv_lengths = kv_lengths_.data();
    args_.block_table = block_table_.data();
    args_.block_table_stride = pages_;
    args_.num_sequences = sequences;
    args_.max_new_tokens = new_tokens;
    args_.max_kv_length = kv_length;
    args_.num_heads = model.heads;
    args_.num_kv_heads = model.kv_heads;
    args_.head_dim = kHeadDim;
    args_.scale = 1.0f / std::sqrt(float(kHeadDim));
    args_.partials = partials_.at(0);
    args_.tickets = tickets_.data();
  }

  double time() {
    return microseconds([&](int i, cudaStream_t stream) {
      args_.query = query_.at(i);
      args_.output = output_.at(i);
      args_.keys = keys_.at(i);
      args_.values = values_.at(i);
      return kernels::attention(args_, stream);
    });
  }

 private:
  std::size_t cache_elements(Model model, int sequences) const {
    return std::size_t(sequences) * pages_ * model.kv_heads * kPageTokens * kHeadDim;
  }

  int pages_;
  Uploaded<std::int32_t> cu_seqlens_;
  Uploaded<std::int32_t> kv_lengths_;
  Uploaded<std::int32_t> block_table_;
  Uploaded<std::uint32_t> tickets_;
  Rotating<float> partials_;
  Rotating<half> query_;
  Rotating<half> output_;
  Rotating<half> keys_;
  Rotating<half> values_;
  kernels::AttentionArgs args_;
};

std::string label(const char* what, Model model, int sequences, int kv_length, int new_tokens) {
  char text[128];
  std::snprintf(text, sizeof(text), "%s %s f16, %d x %d new of %d", what, model.name, sequences,
                new_tokens, kv_length);
  return text;
}

void prefill(Model model, int kv_length, int new_tokens) {
  kv_length = sized(kv_length);
  new_tokens = std::min(sized(new_tokens), kv_length);
  const std::string what = label("prefill", model, 1, kv_length, new_tokens);
  if (!wanted(what)) return;
  const double microseconds = Batch(model, 1, kv_length, new_tokens).time();
  // Visible pairs of query and key: all of the earlier tokens, half of the new ones.
  const double pairs = double(new_tokens) * (kv_length - new_tokens) +
                       0.5 * new_tokens * (new_tokens + 1.0);
  report_flops(what, microseconds, 4.0 * kHeadDim * model.heads * pairs);
}

void decode(Model model, int sequences, int kv_length) {
  kv_length = sized(kv_length);
  const std::string what = label("decode", model, sequences, kv_length, 1);
  if (!wanted(what)) return;
  const double microseconds = Batch(model, sequences, kv_length, 1).time();
  report_bytes(what, microseconds, 4.0 * kHeadDim * model.kv_heads * kv_length * sequences);
}

KOMT_KERNEL_BENCH(attention_prefill) {
  for (const Model model : models()) {
    if (tiny()) {
      prefill(model, 100, 100);
      continue;
    }
    for (const int length : {512, 2048, 8192}) prefill(model, length, length);
    prefill(model, 8192, 512);
  }
}

KOMT_KERNEL_BENCH(attention_decode) {
  for (const Model model : models()) {
    for (const int length : {256, 1024, 4096, 16384}) decode(model, 1, length);
    decode(model, tiny() ? 2 : 16, 4096);
  }
}

}  // namespace
}  // namespace komt::bench
