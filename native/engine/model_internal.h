#pragma once
// What model.cpp (the graph) and weights.cpp (loading) share.
#include "engine/model.h"

namespace komt {

/// Reallocates `buffer` where it is smaller than `bytes`, without its contents; says whether it did.
inline bool ensure(Backend& backend, std::unique_ptr<Buffer>& buffer, size_t bytes,
                   const char* purpose) {
  if (buffer && buffer->bytes() >= bytes) return false;
  buffer.reset();
  buffer = backend.allocate(bytes, purpose);
  return true;
}

/// Vectors (norms and biases) are float32; those a model lacks are null.
struct Model::Layer {
  std::unique_ptr<Buffer> input_norm;
  std::unique_ptr<Buffer> post_attention_norm;
  std::unique_ptr<Weight> qkv;      ///< rows [q | k | v]
  std::unique_ptr<Weight> o;
  std::unique_ptr<Weight> gate_up;  ///< rows interleaved: gate 0, up 0, gate 1, ...
  std::unique_ptr<Weight> down;
  std::unique_ptr<Buffer> qkv_bias;
  std::unique_ptr<Buffer> o_bias;
  std::unique_ptr<Buffer> gate_up_bias;
  std::unique_ptr<Buffer> down_bias;
  int window = 0;
};

struct Model::Stage {
  Backend* backend = nullptr;
  int first_layer = 0;
  std::vector<Layer> layers;

  std::unique_ptr<Weight> embed;  ///< first stage, and the last one where it is also the lm_head
  std::unique_ptr<Buffer> final_norm;        ///< last stage
  std::unique_ptr<Weight> lm_head;

  std::unique_ptr<RopeTables> rope;
  std::vector<std::unique_ptr<Buffer>> keys;    ///< per layer
  std::vector<std::unique_ptr<Buffer>> values;  ///< per layer
  int cache_blocks = 0;

  std::unique_ptr<Buffer> residual;   ///< float32 [max_batch_tokens, hidden]
  std::unique_ptr<Buffer> query;      ///< activation [max_batch_tokens, q_rows]
  std::unique_ptr<Buffer> attended;   ///< activation [max_batch_tokens, q_rows]
  std::unique_ptr<Buffer> gated;      ///< activation [max_batch_tokens, inner_size]
  std::unique_ptr<Buffer> metadata;   ///< int32, see upload_batch
  std::unique_ptr<Buffer> wanted;     ///< int32 indices for gather
  std::unique_ptr<Buffer> gathered;   ///< float32 [rows, hidden]
  std::unique_ptr<Buffer> normed;     ///< float32 [rows, hidden]
  std::unique_ptr<Buffer> logits;     ///< float32 [rows, vocab]
  std::vector<int32_t> host_metadata;
  uint64_t moves = 0;  ///< of what operations use and is not the caller's: cache, activations, logits

  /// Changes whenever memory that a recorded graph refers to may have moved.
  uint64_t memory_epoch() const { return moves + rope->moves() + backend->memory_epoch(); }
  /// `buffer` with room for at least `bytes`, reallocated if it is too small; contents are not kept.
  void reserve(std::unique_ptr<Buffer>& buffer, size_t bytes, const char* purpose) {
    if (ensure(*backend, buffer, bytes, purpose)) ++moves;
  }

  bool is_first(const Model& model) const { return model.stages_.front().get() == this; }
  bool is_last(const Model& model) const { return model.stages_.back().get() == this; }
};

inline const float* floats(const std::unique_ptr<Buffer>& buffer) {
  return buffer ? static_cast<const float*>(buffer->data()) : nullptr;
}

}  // namespace komt
