// The tensor-core kernel in every tile, at its edges: ragged rows, columns and k, more stages than
// the pipeline has, the grouped order of blocks.
#include <type_traits>

#include "gemm/gemm.h"
#include "gemm/problem.h"
#include "harness.h"

namespace komt::test {
namespace {

using kernels::launch_gemm_bf16;
using kernels::launch_gemm_f16;
using kernels::LinearEpilogue;
using kernels::TileId;

struct TileCase {
  TileId id;
  Shape block;
  int stages;
};

template <class Tile>
constexpr TileCase tile_case(TileId id) {
  return {id, {Tile::kBlockM, Tile::kBlockN, Tile::kBlockK}, Tile::kStages};
}

constexpr TileCase kTiles[] = {tile_case<kernels::Tile16x32>(TileId::k16x32),
                               tile_case<kernels::Tile16x64>(TileId::k16x64),
                               tile_case<kernels::Tile32x64>(TileId::k32x64),
                               tile_case<kernels::Tile64x64>(TileId::k64x64),
                               tile_case<kernels::Tile64x128>(TileId::k64x128),
                               tile_case<kernels::Tile128x128>(TileId::k128x128),
                               tile_case<kernels::Tile128x256>(TileId::k128x256),
                               tile_case<kernels::Wgmma64x64>(TileId::kWgmma64x64),
                               tile_case<kernels::Wgmma64x128>(TileId::kWgmma64x128),
                               tile_case<kernels::Wgmma128x128>(TileId::kWgmma128x128),
                               tile_case<kernels::Wgmma128x160>(TileId::kWgmma128x160),
                               tile_case<kernels::Wgmma128x256>(TileId::kWgmma128x256)};

const char* kind_of(TileId tile) { return kernels::uses_wgmma(tile) ? "wgmma" : "mma"; }

// Not every device has wgmma.
std::vector<TileCase> available_tiles() {
  bool wgmma = false;
  Case c("wgmma_available");
  c.check(kernels::wgmma_available(&wgmma) == cudaSuccess, "wgmma_available");
  std::vector<TileCase> tiles;
  for (const TileCase& tile : kTiles) {
    if (wgmma || !kernels::uses_wgmma(tile.id)) tiles.push_back(tile);
  }
  return tiles;
}

template <class T>
cudaError_t launch_tile(TileId tile, const kernels::GemmParams& params) {
  if constexpr (std::is_same_v<T, half>) return launch_gemm_f16(tile, params, false, nullptr);
  return launch_gemm_bf16(tile, params, false, nullptr);
}

// Everything but the kind of epilogue and what belongs to it.
template <class T>
kernels::GemmParams params_of(Shape s, const DeviceBuffer<T>& input, const DeviceBuffer<T>& weight) {
  kernels::GemmParams params{};
  params.a = input.data();
  params.b = weight.data();
  params.m = s.m;
  params.n = s.n;
  params.k = s.k;
  params.epilogue.rows = s.m;
  params.epilogue.n = s.n;
  return params;
}

// Runs `tile` on the product, float32 results; empty if it failed.
template <class T>
std::vector<float> run_tile(Case& c, TileId tile, const Product<T>& product) {
  const Shape s = product.shape;
  DeviceBuffer<T> input(product.input), weight(product.weight);
  DeviceBuffer<float> output(std::size_t(s.m) * s.n);
  kernels::GemmParams params = params_of(s, input, weight);
  params.epilogue.kind = LinearEpilogue::store;
  params.epilogue.float_output = true;
  params.epilogue.output = output.data();
  if (!c.ran(launch_tile<T>(tile, params))) return {};
  return output.host();
}

template <class T>
void test_tile(const TileCase& tile, Shape s) {
  Case c("%s %s tile %dx%d m=%d n=%d k=%d", type_name<T>(), kind_of(tile.id), tile.block.m,
         tile.block.n, s.m, s.n, s.k);
  const Product<T> product(s, 20, false);
  const std::vector<float> output = run_tile(c, tile.id, product);
  if (output.empty()) return;
  c.close("output", output, product.result(), product_tolerance<float>(s.k), s.n);
}

template <class T>
void test_edges() {
  for (const TileCase& tile : available_tiles()) {
    const Shape b = tile.block;
    test_tile<T>(tile, {1, 1, 8});
    test_tile<T>(tile, {b.m - 1, b.n - 1, b.k - 8});
    test_tile<T>(tile, {b.m, b.n, b.k});
    test_tile<T>(tile, {b.m + 1, b.n + 1, b.k + 8});
    test_tile<T>(tile, {9, 24, b.k * (tile.stages - 1)});
    test_tile<T>(tile, {3, 17, b.k * (tile.stages + 2) + 8});
  }
}

KOMT_KERNEL_TEST(gemm_tile_edges_f16) { test_edges<half>(); }
KOMT_KERNEL_TEST(gemm_tile_edges_bf16) { test_edges<bfloat16>(); }

// Blocks go through eight tiles of rows before the next tile of columns; the last group is lower.
KOMT_KERNEL_TEST(gemm_grouped_order) {
  test_tile<half>(kTiles[0], {16 * 11 - 3, 100, 40});
  test_tile<bfloat16>(kTiles[2], {32 * 17, 40, 24});
}

// A row's bits depend neither on the tile nor on the rows beside it.
template <class T>
void test_invariance() {
  const Shape whole{70, 75, 456};
  const Product<T> product(whole, 21, false);
  std::vector<float> expected;
  for (const TileCase& tile : available_tiles()) {
    Case c("%s %s tile %dx%d", type_name<T>(), kind_of(tile.id), tile.block.m, tile.block.n);
    const std::vector<float> output = run_tile(c, tile.id, product);
    if (expected.empty()) expected = output;
    c.identical("output", output, expected, whole.n);
  }
  for (const int rows : {1, 2, 16, 31, 64}) {
    Case c("%s rows=%d batch_invariant", type_name<T>(), rows);
    Product<T> part({rows, whole.n, whole.k}, 21, false);
    // The last rows of the whole, so that they lie elsewhere in their tile.
    const auto first = product.input.end() - std::ptrdiff_t(rows) * whole.k;
    part.input.assign(first, product.input.end());
    part.weight = product.weight;
    DeviceBuffer<T> input(part.input), weight(part.weight);
    DeviceBuffer<float> bias(part.bias), output(std::size_t(rows) * whole.n);
    kernels::LinearArgs args = part.args(input, weight, bias);
    args.output = output.data();
    args.output_type = kernels::ElementType::f32;
    args.batch_invariant = true;
    c.check(!kernels::linear_fuses_norm(args), "the norm in front is a kernel of its own");
    if (!c.ran(kernels::linear(args, nullptr))) continue;
    const std::vector<float> rows_expected(expected.end() - std::ptrdiff_t(rows) * whole.n,
                                           expected.end());
    c.identical("output", output.host(), rows_expected, whole.n);
  }
}

KOMT_KERNEL_TEST(gemm_batch_invariant) {
  test_invariance<half>();
  test_invariance<bfloat16>();
}

// The wide tiles' epilogues; linear_test reaches the narrow ones.
template <class T>
void test_wide_epilogues(const TileCase& tile) {
  Case c("%s %s tile %dx%d rope, gate, residual", type_name<T>(), kind_of(tile.id), tile.block.m,
         tile.block.n);
  const Heads heads{3, 1, 56};
  const Shape s{18, heads.columns(), 48};
  const Product<T> product(s, 22, true);
  const RopeProblem<T> rope(s.m, heads, 23);
  typename RopeProblem<T>::Device device(rope);
  DeviceBuffer<T> input(product.input), weight(product.weight);
  DeviceBuffer<float> bias(product.bias);
  kernels::GemmParams params = params_of(s, input, weight);
  params.epilogue.bias = bias.data();
  const std::vector<double> y = product.result();
  Tolerance tolerance = product_tolerance<T>(s.k);
  tolerance.absolute *= 8;

  DeviceBuffer<T> query(std::size_t(s.m) * heads.query * heads.dim);
  params.epilogue.kind = LinearEpilogue::rope_append;
  params.epilogue.rope = rope.args(device);
  params.epilogue.output = query.data();
  if (!c.ran(launch_tile<T>(tile.id, params))) return;
  const auto expected = rope.expected(y);
  c.close("query", query.host(), expected.query, tolerance, heads.query * heads.dim);
  c.close("keys", device.keys.host(), expected.keys, tolerance, heads.dim);
  c.close("values", device.values.host(), expected.values, tolerance, heads.dim);

  DeviceBuffer<T> gate(std::size_t(s.m) * s.n / 2);
  params.epilogue.kind = LinearEpilogue::silu_gate;
  params.epilogue.output = gate.data();
  if (!c.ran(launch_tile<T>(tile.id, params))) return;
  c.close("gated", gate.host(), gated(y), tolerance, s.n / 2);

  const auto residual = Random(24).normal<float>(y.size());
  DeviceBuffer<float> sum(residual);
  params.epilogue.kind = LinearEpilogue::residual_add;
  params.epilogue.output = sum.data();
  if (!c.ran(launch_tile<T>(tile.id, params))) return;
  std::vector<double> added = y;
  for (std::size_t i = 0; i < added.size(); ++i) added[i] += double(residual[i]);
  c.close("sum", sum.host(), added, product_tolerance<float>(s.k), s.n);

  DeviceBuffer<T> plain(y.size());
  params.epilogue.kind = LinearEpilogue::store;
  params.epilogue.output = plain.data();
  if (!c.ran(launch_tile<T>(tile.id, params))) return;
  c.close("stored", plain.host(), y, product_tolerance<T>(s.k), s.n);
}

KOMT_KERNEL_TEST(gemm_wide_tile_epilogues) {
  for (const TileCase& tile : available_tiles()) {
    if (tile.block.n < 64) continue;
    test_wide_epilogues<half>(tile);
    test_wide_epilogues<bfloat16>(tile);
  }
}

KOMT_KERNEL_TEST(gemm_unknown_tile) {
  Case c("tile 99");
  c.refused(launch_tile<half>(static_cast<TileId>(99), {}));
  c.refused(launch_tile<bfloat16>(static_cast<TileId>(99), {}));
}

// Which tile: narrow for few rows, wide for many, on a device of 132 SMs.
KOMT_KERNEL_TEST(gemm_tile_selection) {
  const auto selects = [](Shape s, TileId expected, TileId with_wgmma) {
    Case c("m=%d n=%d k=%d", s.m, s.n, s.k);
    const TileId chosen = kernels::select_tile(s.m, s.n, s.k, 132, false);
    c.check(chosen == expected, "chose tile %d, expected %d", int(chosen), int(expected));
    const TileId wgmma = kernels::select_tile(s.m, s.n, s.k, 132, true);
    c.check(wgmma == with_wgmma, "with wgmma chose tile %d, expected %d", int(wgmma),
            int(with_wgmma));
  };
  selects({1, 2048, 2048}, TileId::k16x32, TileId::k16x32);
  selects({16, 32000, 5120}, TileId::k16x64, TileId::k16x64);
  selects({64, 5120, 5120}, TileId::k32x64, TileId::kWgmma64x64);
  selects({64, 27648, 5120}, TileId::k64x128, TileId::kWgmma64x128);
  selects({512, 5120, 5120}, TileId::k64x64, TileId::kWgmma128x160);
  selects({512, 4096, 4096}, TileId::k64x128, TileId::kWgmma128x128);
  selects({2048, 27648, 5120}, TileId::k128x256, TileId::kWgmma128x256);
}

}  // namespace
}  // namespace komt::test
