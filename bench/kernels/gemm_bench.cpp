// The matrix products of Llama 2 7B and 13B: one row, a few rows, a prompt.
#include <optional>
#include <string>
#include <vector>

#include "common/kv_page.h"
#include "gemm/gemm.h"
#include "gemm/linear.h"
#include "harness.h"

namespace komt::bench {
namespace {

using kernels::ElementType;
using kernels::linear;
using kernels::LinearArgs;
using kernels::LinearEpilogue;

struct Layer {
  const char* name;
  int n;
  int k;
  LinearEpilogue epilogue;
  bool norm;
};

const std::vector<Layer> kLayers = {
    {"7B qkv", 12288, 4096, LinearEpilogue::rope_append, true},
    {"7B o", 4096, 4096, LinearEpilogue::residual_add, false},
    {"7B gate+up", 22016, 4096, LinearEpilogue::silu_gate, true},
    {"7B down", 4096, 11008, LinearEpilogue::residual_add, false},
    {"13B qkv", 15360, 5120, LinearEpilogue::rope_append, true},
    {"13B o", 5120, 5120, LinearEpilogue::residual_add, false},
    {"13B gate+up", 27648, 5120, LinearEpilogue::silu_gate, true},
    {"13B down", 5120, 13824, LinearEpilogue::residual_add, false},
    {"13B lm_head", 32000, 5120, LinearEpilogue::store, true},
};

// One sequence without grouped heads, its tokens in order from position 0 on.
template <class T>
struct Sequence {
  static constexpr int kHeadDim = 128;

  Sequence(int rows, int qkv_columns)
      : heads(qkv_columns / 3 / kHeadDim),
        positions(ascending(rows)),
        sequence_ids(std::vector<std::int32_t>(std::size_t(rows), 0)),
        num_pages((rows + kernels::kPageTokens - 1) / kernels::kPageTokens),
        pages(ascending(num_pages)),
        cos(std::size_t(rows) * kHeadDim / 2),
        sin(std::size_t(rows) * kHeadDim / 2),
        keys(std::size_t(num_pages) * kernels::kPageTokens * heads * kHeadDim),
        values(std::size_t(num_pages) * kernels::kPageTokens * heads * kHeadDim) {}

  kernels::RopeAppend args(int i) const {
    kernels::RopeAppend r;
    r.positions = positions.data();
    r.rope_rows = positions.data();
    r.sequence_ids = sequence_ids.data();
    r.block_table = pages.data();
    r.block_table_stride = num_pages;
    r.cos = cos.at(0);
    r.sin = sin.at(0);
    r.keys = keys.at(i);
    r.values = values.at(i);
    r.num_heads = heads;
    r.num_kv_heads = heads;
    r.head_dim = kHeadDim;
    return r;
  }

  int heads;
  Uploaded<std::int32_t> positions, sequence_ids;
  int num_pages;
  Uploaded<std::int32_t> pages;
  Rotating<float> cos, sin;
  Rotating<T> keys, values;
};

template <class T>
void measure(Layer layer, int rows, ElementType type) {
  layer.n = sized(layer.n);
  layer.k = sized(layer.k);
  rows = sized(rows);
  LinearArgs args;
  args.type = type;
  args.rows = rows;
  args.n = layer.n;
  args.k = layer.k;
  args.epilogue = layer.epilogue;
  args.output_type = layer.epilogue == LinearEpilogue::residual_add ? ElementType::f32 : type;
  args.norm_eps = 1e-5f;
  const bool fused = layer.norm && kernels::linear_fuses_norm(args);
  const std::string what = std::string(layer.name) + " m=" + std::to_string(rows) + " " +
                           std::to_string(layer.n) + "x" + std::to_string(layer.k) +
                           (type == ElementType::f16 ? " f16" : " bf16") + (fused ? " norm" : "");
  if (!wanted(what)) return;
  const Rotating<T> weight(std::size_t(layer.n) * layer.k, 0.02f);
  const Rotating<T> input(std::size_t(rows) * layer.k);
  const Rotating<float> float_input(std::size_t(rows) * layer.k);
  const Rotating<float> norm(std::size_t(layer.k));
  const Rotating<float> output(std::size_t(rows) * layer.n);
  std::optional<Sequence<T>> sequence;
  if (layer.epilogue == LinearEpilogue::rope_append) sequence.emplace(rows, layer.n);
  const double us = microseconds([&](int i, cudaStream_t stream) {
    LinearArgs a = args;
    a.weight = weight.at(i);
    a.input = fused ? static_cast<const void*>(float_input.at(i)) : input.at(i);
    a.norm_weight = fused ? norm.at(i) : nullptr;
    a.output = output.at(i);
    if (sequence) a.rope = sequence->args(i);
    a.programmatic_dependent_launch = true;
    return linear(a, stream);
  });
  // At about 200 rows an H200 has as much to multiply as to read.
  if (rows <= 64) {
    report_bytes(what, us, 2.0 * layer.n * layer.k + 2.0 * rows * layer.k + 2.0 * rows * layer.n);
  } else {
    report_flops(what, us, 2.0 * rows * layer.n * layer.k);
  }
}

KOMT_KERNEL_BENCH(gemm_linear_layers) {
  for (const int rows :
       tiny() ? std::vector{1, 8, 64} : std::vector{1, 2, 4, 8, 16, 32, 64, 256, 1024, 2048}) {
    for (const Layer& layer : kLayers) measure<half>(layer, rows, ElementType::f16);
  }
  for (const int rows : tiny() ? std::vector{1} : std::vector{1, 2048}) {
    for (const Layer& layer : kLayers) measure<bfloat16>(layer, rows, ElementType::bf16);
  }
}

// Every tile that may compute a shape, from which tile.h's estimates are made.
KOMT_KERNEL_BENCH(gemm_tiles) {
  bool wgmma = false;
  if (!check(kernels::wgmma_available(&wgmma), "wgmma_available")) return;
  for (const int m : tiny() ? std::vector{64} : std::vector{32, 64, 128, 256, 512, 1024, 2048, 4096}) {
    for (const Layer& layer : kLayers) {
      const int rows = sized(m), n = sized(layer.n), k = sized(layer.k);
      const std::string what =
          std::string(layer.name) + " tiles m=" + std::to_string(m) + " " + std::to_string(n) + "x" +
          std::to_string(k) + " ";
      if (!wanted(what)) continue;
      const Rotating<half> weight(std::size_t(n) * k, 0.02f);
      const Rotating<half> input(std::size_t(rows) * k);
      const Rotating<half> output(std::size_t(rows) * n);
      for (const kernels::TileShape& tile : kernels::kTileShapes) {
        if (m <= tile.m / 2 || m > 64 * tile.m || (kernels::uses_wgmma(tile.id) && !wgmma)) continue;
        const double us = microseconds([&](int i, cudaStream_t stream) {
          kernels::GemmParams p{input.at(i), weight.at(i), rows, n, k, 0, 0, {}};
          p.epilogue.kind = LinearEpilogue::store;
          p.epilogue.rows = rows;
          p.epilogue.n = n;
          p.epilogue.output = output.at(i);
          return kernels::launch_gemm_f16(tile.id, p, true, stream);
        });
        report_flops(what + (kernels::uses_wgmma(tile.id) ? "wgmma " : "mma ") + std::to_string(tile.m) +
                         "x" + std::to_string(tile.n),
                     us, 2.0 * rows * n * k);
      }
    }
  }
}

}  // namespace
}  // namespace komt::bench
