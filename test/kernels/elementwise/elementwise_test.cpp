// The kernels between matrix products against plain references: RMSNorm, row gathers, RoPE and cache
// append, page copies, conversion, the step's advance.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "common/kv_page.h"
#include "elementwise/advance.h"
#include "elementwise/convert.h"
#include "elementwise/pages.h"
#include "elementwise/rms_norm.h"
#include "elementwise/rope_append.h"
#include "elementwise/rows.h"
#include "harness.h"

namespace komt::test {
namespace {

using kernels::ElementType;
using kernels::kPageTokens;

// ---- RMSNorm --------------------------------------------------------------------------------------

template <class T>
void compare_rms_norm(int rows, int hidden) {
  Case c("%s %dx%d", type_name<T>(), rows, hidden);
  Random random(hidden);
  const auto x = random.normal<float>(std::size_t(rows) * hidden, 3.0);
  const auto weight = random.normal<float>(hidden, 0.2, 1.0);
  const DeviceBuffer<float> input(x), weights(weight);
  DeviceBuffer<T> output(x.size());
  kernels::RmsNormArgs args;
  args.input = input.data();
  args.weight = weights.data();
  args.output = output.data();
  args.output_type = element_type<T>();
  args.rows = rows;
  args.hidden = hidden;
  args.eps = 1e-5f;
  if (!c.ran(kernels::rms_norm(args, nullptr))) return;
  std::vector<double> expected(x.size());
  for (int r = 0; r < rows; ++r) {
    double sum = 0;
    for (int i = 0; i < hidden; ++i) sum += double(x[r * hidden + i]) * double(x[r * hidden + i]);
    const double scale = 1 / std::sqrt(sum / hidden + double(args.eps));
    for (int i = 0; i < hidden; ++i) expected[r * hidden + i] = x[r * hidden + i] * scale * weight[i];
  }
  Tolerance tolerance = rounding<T>();
  tolerance.relative += 1e-6;
  c.close("output", output.host(), expected, tolerance, hidden);
}

KOMT_KERNEL_TEST(rms_norm_sizes) {
  // Each number of registers a row may take, its edges, and rows that are no multiple of four.
  for (const int hidden : {4, 8, 72, 1024, 2048, 2052, 5120, 5124, 8192, 8196, 16384, 16388, 1, 389}) {
    compare_rms_norm<half>(2, hidden);
  }
  for (const int hidden : {64, 4096, 8192, 10000, 30}) compare_rms_norm<bfloat16>(3, hidden);
  for (const int hidden : {64, 5120, 8192, 10000, 30}) compare_rms_norm<float>(1, hidden);
  compare_rms_norm<half>(37, 64);
}

KOMT_KERNEL_TEST(rms_norm_refuses) {
  Case c("arguments");
  kernels::RmsNormArgs args;
  c.refused(kernels::rms_norm(args, nullptr));
  args.hidden = 8;
  args.rows = -1;
  c.refused(kernels::rms_norm(args, nullptr));
  args.rows = 1;
  args.output_type = ElementType::f64;
  c.refused(kernels::rms_norm(args, nullptr));
  args.rows = 0;
  c.ran(kernels::rms_norm(args, nullptr));
}

// ---- rows -----------------------------------------------------------------------------------------

template <class T>
void compare_gather(int table_rows, int cols, int count) {
  Case c("%s %dx%d, %d rows", type_name<T>(), table_rows, cols, count);
  Random random(cols);
  const auto table = random.normal<T>(std::size_t(table_rows) * cols);
  std::vector<std::int32_t> rows(count);
  for (auto& row : rows) row = std::int32_t(random.below(table_rows));
  const DeviceBuffer<T> table_buffer(table);
  const DeviceBuffer<std::int32_t> row_buffer(rows);
  DeviceBuffer<float> output(std::size_t(count) * cols);
  kernels::GatherRowsArgs args;
  args.table = table_buffer.data();
  args.table_type = element_type<T>();
  args.rows = row_buffer.data();
  args.output = output.data();
  args.count = count;
  args.cols = cols;
  if (!c.ran(kernels::gather_rows(args, nullptr))) return;
  std::vector<float> expected;
  for (const auto row : rows) {
    for (int i = 0; i < cols; ++i) expected.push_back(to_float(table[std::size_t(row) * cols + i]));
  }
  c.identical("output", output.host(), expected, cols);
}

KOMT_KERNEL_TEST(gather_rows_sizes) {
  for (const int cols : {1, 72, 1023, 1024, 1028}) {
    compare_gather<half>(9, cols, 5);
    compare_gather<bfloat16>(9, cols, 5);
    compare_gather<float>(9, cols, 5);
  }
  Case c("arguments");
  kernels::GatherRowsArgs args;
  c.refused(kernels::gather_rows(args, nullptr));
  args.cols = 1;
  c.ran(kernels::gather_rows(args, nullptr));
}

// ---- RoPE and append ------------------------------------------------------------------------------

template <class In, class T>
void compare_rope(int num_heads, int num_kv_heads, int head_dim) {
  Case c("%s -> %s, %d/%d heads of %d", type_name<In>(), type_name<T>(), num_heads, num_kv_heads,
         head_dim);
  // Two sequences on shuffled pages, one crossing a page, one with a rotary row that isn't its place.
  const std::vector<std::int32_t> positions = {63, 64, 65, 0, 1}, sequences = {0, 0, 0, 1, 1},
                                  rope_rows = {63, 64, 65, 7, 8}, table = {3, 1, 2, 0};
  const int tokens = int(positions.size());
  const int half_dim = head_dim / 2;
  const int heads = num_heads + 2 * num_kv_heads;
  Random random(head_dim);
  const auto qkv = random.normal<In>(std::size_t(tokens) * heads * head_dim);
  std::vector<float> cosines, sines;
  for (int row = 0; row < 70; ++row) {
    for (int i = 0; i < half_dim; ++i) {
      const double angle = row * std::pow(10000.0, -double(i) / half_dim);
      cosines.push_back(float(std::cos(angle)));
      sines.push_back(float(std::sin(angle)));
    }
  }
  const DeviceBuffer<In> input(qkv);
  const DeviceBuffer<float> cos_buffer(cosines), sin_buffer(sines);
  const DeviceBuffer<std::int32_t> position_buffer(positions), sequence_buffer(sequences),
      rope_buffer(rope_rows), table_buffer(table);
  DeviceBuffer<T> query(std::size_t(tokens) * num_heads * head_dim);
  const std::size_t cache_elements = std::size_t(4) * num_kv_heads * kPageTokens * head_dim;
  DeviceBuffer<T> keys(cache_elements), values(cache_elements);
  const std::vector<T> untouched = keys.host();
  kernels::RopeAppendArgs args;
  args.qkv = input.data();
  args.qkv_type = element_type<In>();
  args.type = element_type<T>();
  args.query = query.data();
  args.keys = keys.data();
  args.values = values.data();
  args.cos = cos_buffer.data();
  args.sin = sin_buffer.data();
  args.rope_rows = rope_buffer.data();
  args.positions = position_buffer.data();
  args.sequence_ids = sequence_buffer.data();
  args.block_table = table_buffer.data();
  args.block_table_stride = 2;
  args.num_tokens = tokens;
  args.num_heads = num_heads;
  args.num_kv_heads = num_kv_heads;
  args.head_dim = head_dim;
  if (!c.ran(kernels::rope_append(args, nullptr))) return;

  std::vector<double> expected_query;
  std::vector<T> expected_cache[2] = {untouched, untouched};
  const std::vector<T> caches[2] = {keys.host(), values.host()};
  const Tolerance tolerance{rounding<T>().absolute + 1e-6, rounding<T>().relative};
  for (int t = 0; t < tokens; ++t) {
    for (int h = 0; h < heads; ++h) {
      const In* x = &qkv[(std::size_t(t) * heads + h) * head_dim];
      std::vector<double> y(head_dim);
      for (int i = 0; i < head_dim; ++i) {
        const std::size_t at = std::size_t(rope_rows[t]) * half_dim + i % half_dim;
        const double partner = i < half_dim ? -double(to_float(x[i + half_dim]))
                                            : double(to_float(x[i - half_dim]));
        const bool rotated = h < num_heads + num_kv_heads;
        y[i] = rotated ? to_float(x[i]) * double(cosines[at]) + partner * double(sines[at])
                       : double(to_float(x[i]));
      }
      if (h < num_heads) {
        expected_query.insert(expected_query.end(), y.begin(), y.end());
        continue;
      }
      const int kv_head = (h - num_heads) % num_kv_heads;
      const int which = h >= num_heads + num_kv_heads;
      const int page = table[sequences[t] * 2 + positions[t] / kPageTokens];
      const std::size_t at =
          ((std::size_t(page) * num_kv_heads + kv_head) * kPageTokens + positions[t] % kPageTokens) *
          head_dim;
      c.close(which ? "value" : "key",
              std::vector<T>(&caches[which][at], &caches[which][at] + head_dim), y, tolerance);
      std::copy_n(&caches[which][at], head_dim, &expected_cache[which][at]);
    }
  }
  c.close("query", query.host(), expected_query, tolerance, num_heads * head_dim);
  c.identical("the rest of the keys", caches[0], expected_cache[0], head_dim);
  c.identical("the rest of the values", caches[1], expected_cache[1], head_dim);
}

KOMT_KERNEL_TEST(rope_append_sizes) {
  for (const int head_dim : {4, 24, 80, 128}) {
    compare_rope<half, half>(3, 1, head_dim);
    compare_rope<float, half>(2, 2, head_dim);
  }
  compare_rope<bfloat16, bfloat16>(4, 2, 64);
  compare_rope<float, bfloat16>(4, 2, 64);
  Case c("arguments");
  kernels::RopeAppendArgs args;
  args.num_heads = args.num_kv_heads = 1;
  args.head_dim = 6;
  c.refused(kernels::rope_append(args, nullptr));
  args.head_dim = 8;
  args.qkv_type = ElementType::bf16;
  c.refused(kernels::rope_append(args, nullptr));
  args.qkv_type = ElementType::f16;
  c.ran(kernels::rope_append(args, nullptr));
}

// ---- pages ----------------------------------------------------------------------------------------

struct PageCopies {
  std::vector<std::int32_t> source_pages;  // empty: 0, 1, 2...
  std::vector<std::int32_t> target_pages;
  int count;
};

void compare_pages(const char* what, std::size_t page_bytes, const PageCopies& copies) {
  Case c("%s, pages of %zu bytes", what, page_bytes);
  constexpr int kPages = 6;
  Random random(page_bytes);
  std::vector<unsigned char> contents[2];
  for (auto& bytes : contents) {
    bytes.resize(kPages * page_bytes);
    for (auto& byte : bytes) byte = static_cast<unsigned char>(random.below(256));
  }
  const DeviceBuffer<unsigned char> source_keys(contents[0]), source_values(contents[1]);
  DeviceBuffer<unsigned char> target_keys(contents[0].size()), target_values(contents[0].size());
  std::vector<unsigned char> expected[2] = {target_keys.host(), target_values.host()};
  const bool paired = !copies.source_pages.empty() && !copies.target_pages.empty();
  std::vector<std::int32_t> indices;
  for (int i = 0; i < copies.count; ++i) {
    const int source = copies.source_pages.empty() ? i : copies.source_pages[i];
    const int target = copies.target_pages.empty() ? i : copies.target_pages[i];
    if (paired || !copies.source_pages.empty()) indices.push_back(source);
    if (paired || !copies.target_pages.empty()) indices.push_back(target);
    for (int k = 0; k < 2; ++k) {
      std::copy_n(&contents[k][source * page_bytes], page_bytes, &expected[k][target * page_bytes]);
    }
  }
  const DeviceBuffer<std::int32_t> index_buffer(indices);
  kernels::CopyPagesArgs args;
  args.source_keys = source_keys.data();
  args.source_values = source_values.data();
  args.target_keys = target_keys.data();
  args.target_values = target_values.data();
  if (!copies.source_pages.empty()) args.source_pages = index_buffer.data();
  if (!copies.target_pages.empty()) args.target_pages = index_buffer.data() + (paired ? 1 : 0);
  args.index_stride = paired ? 2 : 1;
  args.count = copies.count;
  args.page_bytes = page_bytes;
  if (!c.ran(kernels::copy_pages(args, nullptr))) return;
  c.identical("keys", target_keys.host(), expected[0], std::int64_t(page_bytes));
  c.identical("values", target_values.host(), expected[1], std::int64_t(page_bytes));
}

KOMT_KERNEL_TEST(copy_pages_ways) {
  for (const std::size_t page_bytes : {std::size_t{16}, std::size_t{2048}, std::size_t{16384},
                                       std::size_t{16400}, std::size_t{40960}}) {
    compare_pages("pairs", page_bytes, {{0, 0, 5}, {4, 2, 1}, 3});
    compare_pages("gather", page_bytes, {{5, 0, 3, 3}, {}, 4});
    compare_pages("scatter", page_bytes, {{}, {2, 5, 0}, 3});
  }
  Case c("arguments");
  kernels::CopyPagesArgs args;
  args.page_bytes = 24;
  c.refused(kernels::copy_pages(args, nullptr));
  args.page_bytes = 32;
  c.ran(kernels::copy_pages(args, nullptr));
}

// ---- conversion -----------------------------------------------------------------------------------

template <class S>
S element_from(double x) {
  if constexpr (std::is_same_v<S, double>) {
    return x;
  } else {
    return from_float<S>(float(x));
  }
}

template <class S>
float as_float(S x) {
  if constexpr (std::is_same_v<S, double>) {
    return float(x);
  } else {
    return to_float(x);
  }
}

struct Placement {
  int first;
  int step;
  bool transposed;
  int gap;  // elements between the source's rows
};

template <class S, class T>
void compare_conversion(int count, int cols, Placement place) {
  Case c("%s -> %s, %dx%d to %d + %d i%s, gap %d", type_name<S>(), type_name<T>(), count, cols,
         place.first, place.step, place.transposed ? ", transposed" : "", place.gap);
  const std::int64_t row_stride = place.transposed ? 1 : cols + place.gap;
  const std::int64_t column_stride = place.transposed ? count + place.gap : 1;
  Random random(count * 100 + cols);
  std::vector<S> source(std::size_t(count + place.gap) * (cols + place.gap));
  for (S& x : source) x = element_from<S>(random.normal() * 100);
  // Ties, overflow, subnormals and what is no number.
  const double special[] = {1 + 0x1p-11, 1 + 0x1p-8, 1 + 3 * 0x1p-8, 65520.0, 1e6, -1e39,
                            0x1p-24,     0x1p-25,    -0.0,           INFINITY};
  for (std::size_t i = 0; i < std::min(source.size(), std::size(special)); ++i) {
    source[i] = element_from<S>(special[i]);
  }
  const int target_rows = place.first + (count - 1) * place.step + 2;
  const DeviceBuffer<S> input(source);
  DeviceBuffer<T> output(std::size_t(target_rows) * cols);
  std::vector<T> expected = output.host();
  for (int i = 0; i < count; ++i) {
    for (int j = 0; j < cols; ++j) {
      expected[std::size_t(place.first + i * place.step) * cols + j] =
          from_float<T>(as_float(source[i * row_stride + j * column_stride]));
    }
  }
  kernels::ConvertRowsArgs args;
  args.source = input.data();
  args.source_type = element_type<S>();
  args.source_row_stride = row_stride;
  args.source_column_stride = column_stride;
  args.target = output.data();
  args.target_type = element_type<T>();
  args.first = place.first;
  args.step = place.step;
  args.count = count;
  args.cols = cols;
  if (c.ran(kernels::convert_rows(args, nullptr))) {
    c.identical("weight", output.host(), expected, cols);
  }
}

template <class S, class T>
void conversions() {
  compare_conversion<S, T>(3, 1028, {0, 1, false, 0});
  compare_conversion<S, T>(4, 20, {1, 2, false, 0});
  compare_conversion<S, T>(3, 7, {2, 1, false, 0});
  compare_conversion<S, T>(5, 12, {0, 3, false, 3});
  compare_conversion<S, T>(6, 8, {0, 1, true, 1});
}

template <class T>
void conversions_to() {
  conversions<float, T>();
  conversions<half, T>();
  conversions<bfloat16, T>();
  conversions<double, T>();
}

KOMT_KERNEL_TEST(convert_rows_types) {
  conversions_to<float>();
  conversions_to<half>();
  conversions_to<bfloat16>();
  Case c("arguments");
  kernels::ConvertRowsArgs args;
  args.cols = 1;
  args.count = 1;
  args.target_type = ElementType::f64;
  c.refused(kernels::convert_rows(args, nullptr));
  args.target_type = ElementType::f16;
  args.step = 0;
  c.refused(kernels::convert_rows(args, nullptr));
  args.step = 1;
  args.count = 0;
  c.ran(kernels::convert_rows(args, nullptr));
}

// ---- the step's advance ---------------------------------------------------------------------------

KOMT_KERNEL_TEST(advance_step_counts) {
  for (const int rows : {1, 5, 300}) {
    Case c("%d rows", rows);
    Random random(rows);
    const std::vector<std::int32_t> sampled = random.permutation(rows), lengths = random.permutation(rows);
    const DeviceBuffer<std::int32_t> sampled_buffer(sampled);
    DeviceBuffer<std::int32_t> tokens(rows), positions(lengths), rope_rows(lengths),
        kv_lengths(lengths);
    DeviceBuffer<std::uint32_t> steps(std::vector<std::uint32_t>(rows, 41));
    constexpr int kSlots = 2;
    DeviceBuffer<std::int32_t> ring(std::size_t(kSlots) * rows);
    DeviceBuffer<std::uint32_t> ring_count(std::vector<std::uint32_t>(1, 0)),
        ring_next(std::vector<std::uint32_t>(1, 0));
    kernels::AdvanceArgs args;
    args.sampled = sampled_buffer.data();
    args.tokens = tokens.data();
    args.positions = positions.data();
    args.rope_rows = rope_rows.data();
    args.kv_lengths = kv_lengths.data();
    args.steps = steps.data();
    args.rows = rows;
    args.ring = ring.data();
    args.ring_slots = kSlots;
    args.ring_count = ring_count.data();
    args.ring_next = ring_next.data();
    std::vector<std::int32_t> advanced = lengths;
    for (std::uint32_t step = 1; step <= 3; ++step) {
      if (!c.ran(kernels::advance_step(args, nullptr))) break;
      for (auto& x : advanced) ++x;
      c.identical("tokens", tokens.host(), sampled);
      c.identical("positions", positions.host(), advanced);
      c.identical("rope_rows", rope_rows.host(), advanced);
      c.identical("kv_lengths", kv_lengths.host(), advanced);
      c.identical("steps", steps.host(), std::vector<std::uint32_t>(rows, 41 + step));
      c.identical("ring_count", ring_count.host(), {step});
      const auto slots = ring.host();
      const auto slot = slots.begin() + std::ptrdiff_t((step - 1) % kSlots) * rows;
      c.identical("slot", std::vector<std::int32_t>(slot, slot + rows), sampled);
    }
  }
  Case c("nothing but tokens");
  const DeviceBuffer<std::int32_t> sampled(std::vector<std::int32_t>{7});
  DeviceBuffer<std::int32_t> tokens(1);
  kernels::AdvanceArgs args;
  args.sampled = sampled.data();
  args.tokens = tokens.data();
  args.rows = 1;
  if (c.ran(kernels::advance_step(args, nullptr))) c.identical("tokens", tokens.host(), {7});
  args.ring = tokens.data();
  c.refused(kernels::advance_step(args, nullptr));
}

}  // namespace
}  // namespace komt::test
