// The host twins of matrix instructions, held against the fragment layouts the PTX ISA draws.
#include <cstring>
#include <random>

#include "common/element.cuh"
#include "common/launch.cuh"
#include "common/vector_io.cuh"
#include "device_buffer.h"
#include "ptx/cp_async.cuh"
#include "ptx/ldmatrix.cuh"
#include "ptx/mma.cuh"
#include "ptx/stmatrix.cuh"
#include "ptx/wgmma.cuh"

namespace komt::test {
namespace {

constexpr int kSide = 16;  // a 16x16 matrix of 16-bit elements: four 8x8 ones

__global__ void __launch_bounds__(32)
    ldmatrix_kernel(const unsigned short* in, std::uint32_t* out) {
  KOMT_SHARED(unsigned short, tile, [kSide * kSide]);
  for (int i = static_cast<int>(threadIdx.x); i < kSide * kSide; i += 32) tile[i] = in[i];
  __syncwarp();
  const int lane = static_cast<int>(threadIdx.x);
  // Matrices in the order of mma's a: rows 0-7 and 8-15 of the left half, then of the right one.
  const unsigned short* row = tile + (lane % 16) * kSide + lane / 16 * 8;
  std::uint32_t r4[4];
  std::uint32_t r4_trans[4];
  std::uint32_t r2[2];
  std::uint32_t r2_trans[2];
  std::uint32_t r1[1];
  std::uint32_t r1_trans[1];
  ptx::ldmatrix_x4(r4, row);
  ptx::ldmatrix_x4_trans(r4_trans, row);
  ptx::ldmatrix_x2(r2, row);
  ptx::ldmatrix_x2_trans(r2_trans, row);
  ptx::ldmatrix_x1(r1, row);
  ptx::ldmatrix_x1_trans(r1_trans, row);
  std::uint32_t* mine = out + lane * 14;
  for (int i = 0; i < 4; ++i) {
    mine[i] = r4[i];
    mine[4 + i] = r4_trans[i];
  }
  for (int i = 0; i < 2; ++i) {
    mine[8 + i] = r2[i];
    mine[10 + i] = r2_trans[i];
  }
  mine[12] = r1[0];
  mine[13] = r1_trans[0];
}

TEST(ldmatrix_distributes_rows_and_columns) {
  std::vector<unsigned short> values(kSide * kSide);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<unsigned short>(i * 7 + 1);
  DeviceBuffer<unsigned short> in(values);
  DeviceBuffer<std::uint32_t> out(32 * 14);
  EXPECT_OK(launch(ldmatrix_kernel, {.grid = 1, .block = 32}, in.get(), out.get()));
  const auto got = out.download();
  const auto pair = [&](int matrix, int row, int column, bool transposed) -> std::uint32_t {
    const auto at = [&](int r, int c) -> std::uint32_t {
      if (transposed) std::swap(r, c);
      return values[(matrix % 2 * 8 + r) * kSide + matrix / 2 * 8 + c];
    };
    return at(row, column) | at(row, column + 1) << 16;
  };
  for (int lane = 0; lane < 32; ++lane) {
    const std::uint32_t* mine = got.data() + lane * 14;
    for (int matrix = 0; matrix < 4; ++matrix) {
      EXPECT_EQ(mine[matrix], pair(matrix, lane / 4, lane % 4 * 2, false));
      EXPECT_EQ(mine[4 + matrix], pair(matrix, lane / 4, lane % 4 * 2, true));
    }
    for (int matrix = 0; matrix < 2; ++matrix) {
      EXPECT_EQ(mine[8 + matrix], pair(matrix, lane / 4, lane % 4 * 2, false));
      EXPECT_EQ(mine[10 + matrix], pair(matrix, lane / 4, lane % 4 * 2, true));
    }
    EXPECT_EQ(mine[12], pair(0, lane / 4, lane % 4 * 2, false));
    EXPECT_EQ(mine[13], pair(0, lane / 4, lane % 4 * 2, true));
  }
}

// What stmatrix writes, ldmatrix reads.
template <bool kTransposed>
__global__ void __launch_bounds__(32)
    stmatrix_kernel(const std::uint32_t* in, std::uint32_t* out, std::uint32_t* out2) {
  KOMT_SHARED(unsigned short, tile, [kSide * kSide]);
  const int lane = static_cast<int>(threadIdx.x);
  unsigned short* row = tile + (lane % 16) * kSide + lane / 16 * 8;
  std::uint32_t r[4];
  for (int i = 0; i < 4; ++i) r[i] = in[lane * 4 + i];
  if constexpr (kTransposed) {
    ptx::stmatrix_x4_trans(row, r);
  } else {
    ptx::stmatrix_x4(row, r);
  }
  __syncwarp();
  std::uint32_t back[4];
  if constexpr (kTransposed) {
    ptx::ldmatrix_x4_trans(back, row);
  } else {
    ptx::ldmatrix_x4(back, row);
  }
  for (int i = 0; i < 4; ++i) out[lane * 4 + i] = back[i];
  __syncwarp();
  const std::uint32_t swapped[2] = {r[1], r[0]};
  ptx::stmatrix_x2(row, swapped);
  __syncwarp();
  std::uint32_t two[2];
  ptx::ldmatrix_x2(two, row);
  out2[lane * 2] = two[0];
  out2[lane * 2 + 1] = two[1];
}

TEST(stmatrix_is_the_inverse_of_ldmatrix) {
  std::vector<std::uint32_t> values(32 * 4);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<std::uint32_t>(i * 2654435761u);
  DeviceBuffer<std::uint32_t> in(values);
  DeviceBuffer<std::uint32_t> out(32 * 4);
  DeviceBuffer<std::uint32_t> out2(32 * 2);
  for (auto* kernel : {stmatrix_kernel<false>, stmatrix_kernel<true>}) {
    EXPECT_OK(launch(kernel, {.grid = 1, .block = 32}, in.get(), out.get(), out2.get()));
    EXPECT(out.download() == values);
    const auto two = out2.download();
    for (int lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(two[lane * 2], values[lane * 4 + 1]);
      EXPECT_EQ(two[lane * 2 + 1], values[lane * 4]);
    }
  }
}

// One warp: a [16, 16] row-major, b [8, 16] row-major (K contiguous), d [16, 8].
template <class T>
__global__ void __launch_bounds__(32) mma_kernel(const T* a, const T* b, float* d) {
  KOMT_SHARED(T, tile, [24 * 16]);
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 24 * 2; i += 32) {
    store128(tile + i * 8, load128(i < 32 ? a + i * 8 : b + (i - 32) * 8));
  }
  __syncwarp();
  std::uint32_t fragment_a[4];
  std::uint32_t fragment_b[2];
  ptx::ldmatrix_x4(fragment_a, tile + (lane % 16) * 16 + lane / 16 * 8);
  ptx::ldmatrix_x2(fragment_b, tile + 16 * 16 + (lane % 8) * 16 + lane / 8 % 2 * 8);
  float sums[4] = {1.0f, 2.0f, 3.0f, 4.0f};
  ptx::mma_m16n8k16<T>(sums, fragment_a, fragment_b);
  for (int i = 0; i < 4; ++i) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

template <class T>
void check_mma() {
  std::mt19937 generator(7);
  std::normal_distribution<float> normal;
  std::vector<T> a(16 * 16);
  std::vector<T> b(8 * 16);
  for (T& x : a) x = from_float<T>(normal(generator));
  for (T& x : b) x = from_float<T>(normal(generator));
  DeviceBuffer<T> device_a(a);
  DeviceBuffer<T> device_b(b);
  DeviceBuffer<float> d(16 * 8);
  EXPECT_OK(
      launch(mma_kernel<T>, {.grid = 1, .block = 32}, device_a.get(), device_b.get(), d.get()));
  const auto got = d.download();
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 8; ++n) {
      double sum = 1 + n % 2 + m / 8 * 2;
      for (int k = 0; k < 16; ++k) sum += double(to_float(a[m * 16 + k])) * to_float(b[n * 16 + k]);
      EXPECT(std::abs(got[m * 8 + n] - sum) < 1e-4);
    }
  }
}

TEST(mma_multiplies_half_fragments) { check_mma<half>(); }
TEST(mma_multiplies_bfloat16_fragments) { check_mma<bfloat16>(); }

template <int kBytes>
__global__ void __launch_bounds__(32)
    copy_kernel(const unsigned char* in, unsigned char* out, int source_bytes) {
  KOMT_SHARED(unsigned char, stage, [32 * kBytes]);
  const int at = static_cast<int>(threadIdx.x) * kBytes;
  ptx::cp_async_zfill<kBytes>(stage + at, in + at, source_bytes);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  __syncthreads();
  for (int i = 0; i < kBytes; ++i) out[at + i] = stage[at + i];
}

TEST(cp_async_fills_with_zeros_behind_the_source) {
  std::vector<unsigned char> values(32 * 16);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<unsigned char>(i % 250 + 1);
  DeviceBuffer<unsigned char> in(values);
  DeviceBuffer<unsigned char> out(values.size());
  const auto check = [&](auto* kernel, int bytes) {
    for (int source_bytes : {0, 1, bytes / 2, bytes}) {
      EXPECT_OK(launch(kernel, {.grid = 1, .block = 32}, in.get(), out.get(), source_bytes));
      const auto got = out.download();
      for (int i = 0; i < 32 * bytes; ++i) {
        EXPECT_EQ(int{got[i]}, i % bytes < source_bytes ? int{values[i]} : 0);
      }
    }
  };
  check(copy_kernel<4>, 4);
  check(copy_kernel<8>, 8);
  check(copy_kernel<16>, 16);
}

__global__ void __launch_bounds__(32) vector_kernel(const half* in, half* out) {
  auto a = load128(in + threadIdx.x * 8);
  const auto b = load128(in + (31 - threadIdx.x) * 8);
  for (int i = 0; i < a.kSize; ++i) a[i] = from_float<half>(to_float(a[i]) + to_float(b[i]));
  store128(out + threadIdx.x * 8, a);
}

TEST(vector_loads_and_stores_keep_the_order_of_elements) {
  std::vector<half> values(32 * 8);
  for (int i = 0; i < 256; ++i) values[i] = from_float<half>(static_cast<float>(i));
  DeviceBuffer<half> in(values);
  DeviceBuffer<half> out(values.size());
  EXPECT_OK(launch(vector_kernel, {.grid = 1, .block = 32}, in.get(), out.get()));
  const auto got = out.download();
  for (int i = 0; i < 256; ++i) {
    EXPECT_EQ(to_float(got[i]), static_cast<float>(i + (31 - i / 8) * 8 + i % 8));
  }
}

constexpr int kWgmmaColumns = 64;
constexpr int kWgmmaRows = 64 + kWgmmaColumns;  // of A, then of B, 64 elements each

// d = A B^T over 64 elements of k, in four steps, from tiles that this kernel swizzles by itself.
__global__ void __launch_bounds__(128) wgmma_kernel(const unsigned short* in, float* out) {
  KOMT_DYN_SHARED(shared);
  auto* tiles = reinterpret_cast<unsigned short*>(shared);
  for (int i = static_cast<int>(threadIdx.x); i < kWgmmaRows * 64; i += 128) {
    const int row = i / 64;
    const int chunk = i % 64 / 8;
    tiles[row * 64 + (chunk ^ (row % 8)) * 8 + i % 8] = in[i];
  }
  ptx::fence_proxy_async();
  __syncthreads();
  const std::uint64_t a = ptx::wgmma_operand(tiles);
  const std::uint64_t b = ptx::wgmma_operand(tiles + 64 * 64);
  float d[kWgmmaColumns / 8][4];
  ptx::wgmma_fence();
  for (int step = 0; step < 4; ++step) {
    ptx::wgmma_m64k16<half, kWgmmaColumns>(d, a + 2 * step, b + 2 * step, step > 0);
  }
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int j = 0; j < kWgmmaColumns / 8; ++j) {
    for (int e = 0; e < 4; ++e) {
      const int row = 16 * warp + lane / 4 + e / 2 * 8;
      out[row * kWgmmaColumns + 8 * j + lane % 4 * 2 + e % 2] = d[j][e];
    }
  }
}

TEST(wgmma_multiplies_swizzled_tiles) {
  std::mt19937 random(11);
  std::vector<unsigned short> values(kWgmmaRows * 64);
  std::vector<float> wide(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    wide[i] = static_cast<float>(static_cast<int>(random() % 17) - 8);
    const half h = from_float<half>(wide[i]);
    std::memcpy(&values[i], &h, 2);
  }
  DeviceBuffer<unsigned short> in(values);
  DeviceBuffer<float> out(64 * kWgmmaColumns);
  EXPECT_OK(launch(wgmma_kernel, {.grid = 1, .block = 128, .dynamic_shared_bytes = kWgmmaRows * 128},
                   in.get(), out.get()));
  const std::vector<float> got = out.download();
  for (int m = 0; m < 64; ++m) {
    for (int n = 0; n < kWgmmaColumns; ++n) {
      float sum = 0;  // whole numbers: exact in any order
      for (int k = 0; k < 64; ++k) sum += wide[m * 64 + k] * wide[(64 + n) * 64 + k];
      EXPECT_EQ(got[m * kWgmmaColumns + n], sum);
    }
  }
}

}  // namespace
}  // namespace komt::test
