// The kernels between matrix products, by the bytes they must move, for a decode step and a prompt.
#include <cstdio>
#include <string>
#include <vector>

#include "common/kv_page.h"
#include "elementwise/convert.h"
#include "elementwise/pages.h"
#include "elementwise/rms_norm.h"
#include "elementwise/rope_append.h"
#include "elementwise/rows.h"
#include "harness.h"

namespace komt::bench {
namespace {

using kernels::ElementType;
using kernels::kPageTokens;

std::vector<int> row_counts() { return {1, sized(2048)}; }
std::vector<int> hidden_sizes() { return {sized(4096), sized(5120)}; }

std::string label(const char* what, int rows, int cols) {
  char text[96];
  std::snprintf(text, sizeof(text), "%s f16, %d x %d", what, rows, cols);
  return text;
}

KOMT_KERNEL_BENCH(rms_norm) {
  for (const int hidden : hidden_sizes()) {
    for (const int rows : row_counts()) {
      if (!wanted(label("rms_norm", rows, hidden))) continue;
      const std::size_t elements = std::size_t(rows) * hidden;
      const Rotating<float> input(elements), weight(hidden);
      const Rotating<half> output(elements);
      const double time = microseconds([&](int i, cudaStream_t stream) {
        kernels::RmsNormArgs args;
        args.input = input.at(i);
        args.weight = weight.at(0);
        args.output = output.at(i);
        args.rows = rows;
        args.hidden = hidden;
        args.eps = 1e-5f;
        return kernels::rms_norm(args, stream);
      });
      report_bytes(label("rms_norm", rows, hidden), time, 6.0 * elements + 4.0 * hidden);
    }
  }
}

KOMT_KERNEL_BENCH(embed) {
  const int vocab = sized(32000);
  for (const int hidden : hidden_sizes()) {
    for (const int rows : row_counts()) {
      if (!wanted(label("embed", rows, hidden))) continue;
      const std::size_t elements = std::size_t(rows) * hidden;
      const Rotating<half> table(std::size_t(vocab) * hidden);
      const Rotating<float> output(elements);
      std::vector<std::int32_t> ids = ascending(rows);
      for (auto& id : ids) id = std::int32_t(id * 7919LL % vocab);
      const Uploaded<std::int32_t> tokens(ids);
      const double time = microseconds([&](int i, cudaStream_t stream) {
        return kernels::gather_rows(
            {table.at(i), ElementType::f16, tokens.data(), output.at(i), rows, hidden}, stream);
      });
      report_bytes(label("embed", rows, hidden), time, 6.0 * elements);
    }
  }
}

KOMT_KERNEL_BENCH(rope_append) {
  constexpr int kHeadDim = 128;
  for (const int hidden : hidden_sizes()) {
    const int heads = hidden / kHeadDim;
    for (const int tokens : row_counts()) {
      if (!wanted(label("rope_append", tokens, 3 * hidden))) continue;
      const std::size_t elements = std::size_t(tokens) * hidden;
      const int pages = (tokens + kPageTokens - 1) / kPageTokens;
      const Rotating<half> qkv(3 * elements), query(elements);
      const std::size_t cache_elements = std::size_t(pages) * kPageTokens * hidden;
      const Rotating<half> keys(cache_elements), values(cache_elements);
      const Rotating<float> cosines(std::size_t(tokens) * kHeadDim / 2),
          sines(std::size_t(tokens) * kHeadDim / 2);
      const Uploaded<std::int32_t> positions(ascending(tokens)), table(ascending(pages)),
          sequence_ids(std::vector<std::int32_t>(tokens, 0));
      const double time = microseconds([&](int i, cudaStream_t stream) {
        kernels::RopeAppendArgs args;
        args.qkv = qkv.at(i);
        args.query = query.at(i);
        args.keys = keys.at(i);
        args.values = values.at(i);
        args.cos = cosines.at(0);
        args.sin = sines.at(0);
        args.rope_rows = args.positions = positions.data();
        args.sequence_ids = sequence_ids.data();
        args.block_table = table.data();
        args.block_table_stride = pages;
        args.num_tokens = tokens;
        args.num_heads = args.num_kv_heads = heads;
        args.head_dim = kHeadDim;
        return kernels::rope_append(args, stream);
      });
      report_bytes(label("rope_append", tokens, 3 * hidden), time, 12.0 * elements);
    }
  }
}

KOMT_KERNEL_BENCH(copy_pages) {
  for (const int hidden : hidden_sizes()) {
    for (const int pages : {1, tiny() ? 3 : 64}) {
      if (!wanted(label("copy_pages", pages, kPageTokens * hidden))) continue;
      const std::size_t elements = std::size_t(pages) * kPageTokens * hidden;
      const Rotating<half> source_keys(elements), source_values(elements), target_keys(elements),
          target_values(elements);
      const double time = microseconds([&](int i, cudaStream_t stream) {
        kernels::CopyPagesArgs args;
        args.source_keys = source_keys.at(i);
        args.source_values = source_values.at(i);
        args.target_keys = target_keys.at(i);
        args.target_values = target_values.at(i);
        args.count = pages;
        args.page_bytes = std::size_t(kPageTokens) * hidden * sizeof(half);
        return kernels::copy_pages(args, stream);
      });
      report_bytes(label("copy_pages", pages, kPageTokens * hidden), time, 8.0 * elements);
    }
  }
}

KOMT_KERNEL_BENCH(convert_rows) {
  const int cols = sized(5120);
  const int count = sized(4096);
  if (!wanted(label("convert_rows from f32", count, cols))) return;
  const Rotating<float> source(std::size_t(count) * cols);
  const Rotating<half> target(std::size_t(2 * count) * cols);
  for (const int step : {1, 2}) {
    const double time = microseconds([&](int i, cudaStream_t stream) {
      kernels::ConvertRowsArgs args;
      args.source = source.at(i);
      args.source_row_stride = cols;
      args.target = target.at(i);
      args.step = step;
      args.count = count;
      args.cols = cols;
      return kernels::convert_rows(args, stream);
    });
    report_bytes(label(step == 1 ? "convert_rows from f32" : "convert_rows from f32, interleaved",
                       count, cols),
                 time, 6.0 * count * cols);
  }
}

}  // namespace
}  // namespace komt::bench
