#include "engine/config.h"

#include <string>

#include "engine/error.h"

namespace komt {

namespace {

/// Far beyond any model. Rows of a layer's matrices stay below 2^31, and a page of a layer's cache
/// (64 tokens of at most 2^31 elements) far below 2^63 bytes.
constexpr int kMaxWidth = 1 << 28;
constexpr int kMaxLayers = 1 << 16;
constexpr int kMaxPositions = 1 << 30;

void require(int value, int min, int max, const char* name) {
  if (value >= min && value <= max) return;
  throw Error(ErrorKind::invalid_argument, "Expected an integer from " + std::to_string(min) + " to " +
                                               std::to_string(max) + " for " + name + ", found " +
                                               std::to_string(value));
}

void require(bool condition, const char* what) {
  if (!condition) throw Error(ErrorKind::invalid_argument, what);
}

}  // namespace

void ModelConfig::validate() const {
  require(hidden_size, 1, kMaxWidth, "hidden_size");
  require(intermediate_size, 1, kMaxWidth, "intermediate_size");
  require(num_hidden_layers, 1, kMaxLayers, "num_hidden_layers");
  require(num_attention_heads, 1, kMaxWidth, "num_attention_heads");
  require(num_key_value_heads, 1, num_attention_heads, "num_key_value_heads");
  require(head_dim, 2, kMaxWidth, "head_dim");
  require(vocab_size, 1, kMaxWidth, "vocab_size");
  require(max_position_embeddings, 1, kMaxPositions, "max_position_embeddings");
  require(cache_tokens, 0, kMaxPositions, "cache_tokens");
  require(num_attention_heads % num_key_value_heads == 0,
          "num_attention_heads is no multiple of num_key_value_heads");
  require(int64_t(num_attention_heads) * head_dim <= kMaxWidth,
          "num_attention_heads x head_dim is beyond any model's");
  require(head_dim % 2 == 0 && rope.inv_freq.size() == size_t(head_dim / 2),
          "Expected head_dim / 2 rotary frequencies");
  require(rms_norm_eps >= 0, "Expected 0 or more for rms_norm_eps");
  for (const int window : sliding_window) require(window, 0, INT32_MAX, "sliding_window");
  if (rope.dynamic) require(rope.original_max_position, 1, kMaxPositions, "original_max_position");
}

}  // namespace komt
