#pragma once
#include <cstdint>
#include <vector>

#include "engine/dtype.h"

namespace komt {

/// Rotary frequencies as the model's description computed them (lib/models/rope.ts): plain, linear,
/// llama3 and yarn scaling are all a vector of frequencies and one factor.
struct RopeConfig {
  std::vector<float> inv_freq;     ///< [head_dim / 2], radians per position
  float attention_scaling = 1.0f;  ///< multiplies cos and sin (yarn)
  /// Dynamic NTK: beyond original_max_position the base grows with the sequence, so a token's angle
  /// depends on the length at the time it is processed.
  bool dynamic = false;
  float theta = 10000.0f;
  float factor = 1.0f;
  int original_max_position = 0;
};

/// A Llama-family decoder. Names are those of Hugging Face's config.json.
struct ModelConfig {
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_hidden_layers = 0;
  int num_attention_heads = 0;
  int num_key_value_heads = 0;
  int head_dim = 0;
  int vocab_size = 0;
  int max_position_embeddings = 0;
  float rms_norm_eps = 1e-5f;
  bool tie_word_embeddings = false;
  /// Per layer: tokens a query sees, itself included; 0 = all. Empty = 0 everywhere.
  std::vector<int> sliding_window;
  RopeConfig rope;
  /// Tokens the key/value cache holds on backends that size it once; 0 = four of the longest
  /// sequences, as far as memory goes.
  int cache_tokens = 0;
  /// Type the matrices are kept in.
  DType dtype = DType::f32;

  /// Throws invalid_argument for sizes that no model has, or whose products leave 32 bits: everything
  /// behind this check may multiply them.
  void validate() const;

  int q_rows() const { return num_attention_heads * head_dim; }
  int kv_rows() const { return num_key_value_heads * head_dim; }
  int qkv_rows() const { return q_rows() + 2 * kv_rows(); }
};

}  // namespace komt
