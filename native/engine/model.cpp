#include "engine/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "engine/error.h"
#include "engine/model_internal.h"

namespace komt {

namespace {

/// A cache that is sized once has at least this many pages.
constexpr int kLeastCacheBlocks = 64;
/// Share of the free memory that a cache that can grow is first given.
constexpr double kFirstCacheShare = 0.125;

size_t block_bytes(const ModelConfig& config, DType dtype) {
  return size_t(config.kv_rows()) * kKvBlockTokens * size_of(dtype);
}

KvLayer kv_view(const Buffer& keys, const Buffer& values, const ModelConfig& config, DType dtype) {
  return {keys.data(), values.data(), dtype, config.num_key_value_heads, config.head_dim};
}

}  // namespace

Model::Model(ModelConfig config, std::vector<Placement> placements) : config_(std::move(config)) {
  config_.validate();
  int alignment = 1;
  int placed = 0;
  for (const Placement& placement : placements) {
    if (placement.first_layer != placed || placement.last_layer < placed ||
        placement.last_layer > config_.num_hidden_layers) {
      throw Error(ErrorKind::invalid_argument, "Layers are not placed one behind the other");
    }
    placed = placement.last_layer;
    auto stage = std::make_unique<Stage>();
    stage->backend = placement.backend;
    stage->first_layer = placement.first_layer;
    stage->layers.resize(size_t(placement.last_layer - placement.first_layer));
    for (size_t i = 0; i < stage->layers.size(); ++i) {
      const size_t layer = size_t(placement.first_layer) + i;
      if (layer < config_.sliding_window.size()) {
        stage->layers[i].window = config_.sliding_window[layer];
      }
    }
    stage->rope = std::make_unique<RopeTables>(*placement.backend, config_.rope);
    const Capabilities& capabilities = placement.backend->capabilities();
    alignment = std::max(alignment, capabilities.column_alignment);
    max_batch_tokens_ = std::min(max_batch_tokens_, capabilities.batch_tokens);
    stages_.push_back(std::move(stage));
  }
  if (stages_.empty() || placed != config_.num_hidden_layers) {
    throw Error(ErrorKind::invalid_argument, std::to_string(placed) + " of " +
                                                 std::to_string(config_.num_hidden_layers) +
                                                 " layers are placed on a device");
  }
  uint64_t page_bytes = 0;
  for (const auto& stage : stages_) {
    page_bytes +=
        2 * stage->layers.size() * block_bytes(config_, stage->backend->capabilities().cache);
  }
  inner_size_ = (config_.intermediate_size + alignment - 1) / alignment * alignment;
  blocks_ = std::make_unique<BlockAllocator>(BlockAllocator::Storage{
      [this](int blocks) { return grow_cache(blocks); },
      [this](std::span<const int32_t> pairs) { copy_cache(pairs); },
      page_bytes,
  });
}

Model::~Model() = default;

Backend& Model::output_backend() const { return *stages_.back()->backend; }

void Model::synchronize() {
  for (auto& stage : stages_) stage->backend->synchronize();
}

int Model::cache_target(const Stage& stage, int blocks) const {
  Backend& backend = *stage.backend;
  const int longest = (config_.max_position_embeddings + kKvBlockTokens - 1) / kKvBlockTokens;
  const size_t bytes =
      2 * stage.layers.size() * block_bytes(config_, backend.capabilities().cache);
  if (backend.capabilities().growable_cache) {
    if (stage.cache_blocks > 0) return std::max(blocks, stage.cache_blocks * 2);
    // Growing copies everything, in the middle of an answer. Host memory costs nothing until it is
    // written, so there is room for one of the longest sequences from the start.
    const double share = kFirstCacheShare * double(backend.memory().free) / double(bytes);
    return std::max(blocks, int(std::min<double>(longest, share)));
  }
  if (stage.cache_blocks > 0) return stage.cache_blocks;
  // Sized once: what was asked for, or a few of the longest sequences, as far as memory goes. Some is
  // left for activations, which are allocated later.
  int target = std::max({blocks, 4 * longest, kLeastCacheBlocks});
  if (config_.cache_tokens > 0) {
    target = (config_.cache_tokens + kKvBlockTokens - 1) / kKvBlockTokens;
  }
  const double affordable = 0.85 * double(backend.memory().free) / double(bytes);
  return int(std::min<double>(target, affordable));
}

int Model::grow_cache(int blocks) {
  // Pages are common to all stages: one whose cache is sized once decides for those that can grow.
  int fixed = INT32_MAX;
  int grown = INT32_MAX;
  for (auto& stage : stages_) {
    int& target = stage->backend->capabilities().growable_cache ? grown : fixed;
    target = std::min(target, cache_target(*stage, blocks));
  }
  const int reached = fixed != INT32_MAX ? fixed : grown;
  if (reached < 1) return 0;
  for (auto& stage : stages_) {
    Backend& backend = *stage->backend;
    if (stage->cache_blocks >= reached) continue;
    const size_t page = block_bytes(config_, backend.capabilities().cache);
    std::vector<std::unique_ptr<Buffer>> keys;
    std::vector<std::unique_ptr<Buffer>> values;
    for (size_t i = 0; i < stage->layers.size(); ++i) {
      keys.push_back(backend.allocate(page * size_t(reached), "the key cache"));
      values.push_back(backend.allocate(page * size_t(reached), "the value cache"));
      if (stage->cache_blocks > 0) {
        const size_t used = page * size_t(stage->cache_blocks);
        backend.copy(keys[i]->data(), stage->keys[i]->data(), used);
        backend.copy(values[i]->data(), stage->values[i]->data(), used);
      }
    }
    backend.synchronize();
    stage->keys = std::move(keys);
    stage->values = std::move(values);
    stage->cache_blocks = reached;
    ++stage->moves;
  }
  return reached;
}

void Model::copy_cache(std::span<const int32_t> pairs) {
  for (auto& stage : stages_) {
    const DType dtype = stage->backend->capabilities().cache;
    for (size_t i = 0; i < stage->layers.size(); ++i) {
      stage->backend->copy_blocks(kv_view(*stage->keys[i], *stage->values[i], config_, dtype), pairs);
    }
  }
}

Batch Model::upload_batch(Stage& stage, std::span<const BatchRow> rows,
                          std::unique_ptr<Buffer>& buffer, int kv_bound) {
  Backend& backend = *stage.backend;
  Batch batch;
  batch.num_sequences = int(rows.size());
  batch.max_kv_length = kv_bound;
  batch.block_table_stride = (kv_bound + kKvBlockTokens - 1) / kKvBlockTokens;
  for (const BatchRow& row : rows) {
    const int count = int(row.tokens.size());
    batch.num_tokens += count;
    batch.max_new_tokens = std::max(batch.max_new_tokens, count);
    batch.max_kv_length = std::max(batch.max_kv_length, row.first_position + count);
    batch.block_table_stride = std::max(batch.block_table_stride, int(row.cache->blocks.size()));
  }
  const int num_tokens = batch.num_tokens;
  const bool stretch = config_.rope.dynamic && rope_length_ > config_.rope.original_max_position;
  stage.rope->reserve(batch.max_kv_length, stretch ? num_tokens : 0);

  // One upload for all arrays: tokens, positions, rope rows, sequence ids, cu_seqlens, lengths, table.
  const size_t n = size_t(num_tokens);
  const size_t s = rows.size();
  auto& host = stage.host_metadata;
  host.assign(4 * n + (s + 1) + s + s * size_t(batch.block_table_stride), 0);
  int32_t* tokens = host.data();
  int32_t* positions = tokens + n;
  int32_t* rope_rows = positions + n;
  int32_t* sequence_ids = rope_rows + n;
  int32_t* cu_seqlens = sequence_ids + n;
  int32_t* kv_lengths = cu_seqlens + s + 1;
  int32_t* block_table = kv_lengths + s;
  int t = 0;
  int slot = 0;
  for (size_t r = 0; r < s; ++r) {
    const BatchRow& row = rows[r];
    cu_seqlens[r] = t;
    for (size_t i = 0; i < row.tokens.size(); ++i, ++t) {
      const int position = row.first_position + int(i);
      tokens[t] = row.tokens[i];
      positions[t] = position;
      rope_rows[t] = stretch ? stage.rope->scratch_row(slot++, position, rope_length_) : position;
      sequence_ids[t] = int32_t(r);
    }
    kv_lengths[r] = row.first_position + int(row.tokens.size());
    std::copy(row.cache->blocks.begin(), row.cache->blocks.end(),
              block_table + r * size_t(batch.block_table_stride));
  }
  cu_seqlens[s] = t;
  stage.rope->flush_scratch(slot);

  ensure(backend, buffer, host.size() * sizeof(int32_t), "batch metadata");
  backend.upload(buffer->data(), host.data(), host.size() * sizeof(int32_t));
  auto* device = static_cast<int32_t*>(buffer->data());
  const auto at = [&](int32_t* p) { return device + (p - host.data()); };
  batch.tokens = at(tokens);
  batch.positions = at(positions);
  batch.rope_rows = at(rope_rows);
  batch.sequence_ids = at(sequence_ids);
  batch.cu_seqlens = at(cu_seqlens);
  batch.kv_lengths = at(kv_lengths);
  batch.block_table = at(block_table);
  return batch;
}

void Model::reserve_activations(Stage& stage) {
  const size_t element = size_of(stage.backend->capabilities().activation);
  const size_t tokens = size_t(max_batch_tokens_);
  const size_t q_rows = size_t(config_.q_rows());
  stage.reserve(stage.residual, tokens * size_t(config_.hidden_size) * sizeof(float), "activations");
  stage.reserve(stage.query, tokens * q_rows * element, "activations");
  stage.reserve(stage.attended, tokens * q_rows * element, "activations");
  stage.reserve(stage.gated, tokens * size_t(inner_size_) * element, "activations");
}

void Model::run_layers(Stage& stage, const Batch& batch) {
  Backend& backend = *stage.backend;
  const DType activation = backend.capabilities().activation;
  const DType cache_type = backend.capabilities().cache;
  const int64_t n = batch.num_tokens;
  const Tensor x{stage.residual->data(), DType::f32, n, config_.hidden_size};
  const Tensor query{stage.query->data(), activation, n, config_.q_rows()};
  const Tensor attended{stage.attended->data(), activation, n, config_.q_rows()};
  const Tensor gated{stage.gated->data(), activation, n, inner_size_};

  if (stage.is_first(*this)) {
    backend.embed(batch, *stage.embed, x);
  }

  for (size_t i = 0; i < stage.layers.size(); ++i) {
    const Layer& layer = stage.layers[i];
    const KvLayer kv = kv_view(*stage.keys[i], *stage.values[i], config_, cache_type);
    const Norm input_norm{floats(layer.input_norm), config_.rms_norm_eps};
    const Norm post_norm{floats(layer.post_attention_norm), config_.rms_norm_eps};

    LinearArgs qkv;
    qkv.input = x;
    qkv.norm = &input_norm;
    qkv.weight = layer.qkv.get();
    qkv.bias = floats(layer.qkv_bias);
    qkv.epilogue = Epilogue::rope_append;
    qkv.output = query;
    qkv.batch = &batch;
    qkv.rope = stage.rope->view();
    qkv.kv = kv;
    qkv.num_heads = config_.num_attention_heads;
    backend.linear(qkv);

    AttentionArgs attention;
    attention.query = query;
    attention.output = attended;
    attention.batch = &batch;
    attention.kv = kv;
    attention.num_heads = config_.num_attention_heads;
    attention.scale = 1.0f / std::sqrt(float(config_.head_dim));
    attention.window = layer.window;
    backend.attention(attention);

    LinearArgs o;
    o.input = attended;
    o.weight = layer.o.get();
    o.bias = floats(layer.o_bias);
    o.epilogue = Epilogue::residual_add;
    o.output = x;
    backend.linear(o);

    LinearArgs gate_up;
    gate_up.input = x;
    gate_up.norm = &post_norm;
    gate_up.weight = layer.gate_up.get();
    gate_up.bias = floats(layer.gate_up_bias);
    gate_up.epilogue = Epilogue::silu_gate;
    gate_up.output = gated;
    backend.linear(gate_up);

    LinearArgs down;
    down.input = gated;
    down.weight = layer.down.get();
    down.bias = floats(layer.down_bias);
    down.epilogue = Epilogue::residual_add;
    down.output = x;
    backend.linear(down);
  }
}

void Model::hand_over(Stage& from, Stage& to, int tokens) {
  to.backend->copy_from(to.residual->data(), *from.backend, from.residual->data(),
                        size_t(tokens) * size_t(config_.hidden_size) * sizeof(float));
}

void Model::update_rope_length(std::span<const BatchRow> rows) {
  int length = 0;
  for (const BatchRow& row : rows) length = std::max(length, row.final_length);
  if (length > rope_length_) {
    rope_length_ = length;
  } else if (length < config_.rope.original_max_position) {
    rope_length_ = 0;
  }
}

void Model::forward(std::span<const BatchRow> rows) {
  int num_tokens = 0;
  for (const BatchRow& row : rows) num_tokens += int(row.tokens.size());
  if (num_tokens > max_batch_tokens_) {
    throw Error(ErrorKind::internal, "forward: more tokens than max_batch_tokens");
  }
  update_rope_length(rows);
  Stage* before = nullptr;
  for (auto& stage : stages_) {
    reserve_activations(*stage);
    if (before != nullptr) hand_over(*before, *stage, num_tokens);
    run_layers(*stage, upload_batch(*stage, rows, stage->metadata, 0));
    before = stage.get();
  }
  last_tokens_ = num_tokens;
}

Tensor Model::gather(std::span<const int32_t> wanted) {
  Stage& stage = *stages_.back();
  Backend& backend = *stage.backend;
  const int64_t count = int64_t(wanted.size());
  const Tensor all{stage.residual->data(), DType::f32, last_tokens_, config_.hidden_size};
  bool everything = count == last_tokens_;
  for (int64_t i = 0; everything && i < count; ++i) everything = wanted[size_t(i)] == i;
  if (everything) return all;
  ensure(backend, stage.wanted, wanted.size_bytes(), "batch metadata");
  stage.reserve(stage.gathered, size_t(count) * size_t(config_.hidden_size) * sizeof(float),
                "activations");
  backend.upload(stage.wanted->data(), wanted.data(), wanted.size_bytes());
  const Tensor out{stage.gathered->data(), DType::f32, count, config_.hidden_size};
  backend.gather_rows(all, static_cast<const int32_t*>(stage.wanted->data()), out);
  return out;
}

Tensor Model::logits(std::span<const int32_t> wanted) {
  Stage& stage = *stages_.back();
  const int64_t count = int64_t(wanted.size());
  stage.reserve(stage.logits, size_t(count) * size_t(config_.vocab_size) * sizeof(float), "logits");
  const Norm norm{floats(stage.final_norm), config_.rms_norm_eps};
  LinearArgs args;
  args.input = gather(wanted);
  args.norm = &norm;
  args.weight = stage.lm_head ? stage.lm_head.get() : stage.embed.get();
  args.epilogue = Epilogue::store;
  args.output = {stage.logits->data(), DType::f32, count, config_.vocab_size};
  stage.backend->linear(args);
  return args.output;
}

Tensor Model::hidden(std::span<const int32_t> wanted) {
  Stage& stage = *stages_.back();
  const int64_t count = int64_t(wanted.size());
  stage.reserve(stage.normed, size_t(count) * size_t(config_.hidden_size) * sizeof(float),
                "activations");
  const Tensor out{stage.normed->data(), DType::f32, count, config_.hidden_size};
  stage.backend->rms_norm(gather(wanted), {floats(stage.final_norm), config_.rms_norm_eps}, out);
  return out;
}

}  // namespace komt
