// Tiles of keys, values and queries in shared memory, and the fragments that mma takes from them.
#pragma once

#include "common/element.cuh"
#include "ptx/cp_async.cuh"
#include "ptx/ldmatrix.cuh"
#include "ptx/math.cuh"
#include "ptx/mma.cuh"

namespace komt::kernels {

// Rows of kDim 16-bit elements (a multiple of 16). ldmatrix reads one 16-byte chunk of eight
// consecutive rows at a time; they must lie in eight different groups of four banks. Rows of a
// multiple of 128 bytes XOR the chunk with the row; others are padded to an odd number of chunks.
template <int kDim>
struct Tile {
  static_assert(kDim % 16 == 0);
  static constexpr int kChunks = kDim / 8;
  static constexpr bool kSwizzled = kChunks % 8 == 0;
  static constexpr int kRowBytes = (kSwizzled ? kChunks : kChunks + 1) * 16;

  __host__ __device__ static constexpr int bytes(int rows) { return rows * kRowBytes; }
  __device__ static __forceinline__ int offset(int row, int chunk) {
    return row * kRowBytes + (kSwizzled ? chunk ^ (row & 7) : chunk) * 16;
  }
};

// Starts the copy of kRows rows into a tile by kThreads threads; rows from valid_rows on and columns
// from head_dim (a multiple of 8) to kDim become zeros. Zeros matter: a masked score is a finite
// number times a value, and an unwritten value may be NaN. Rows are row_stride elements apart.
template <int kDim, int kRows, int kThreads, class T, class Stride>
__device__ __forceinline__ void copy_tile_async(unsigned char* tile, const T* source,
                                                Stride row_stride, int valid_rows, int head_dim,
                                                int thread) {
  constexpr int kChunks = Tile<kDim>::kChunks;
#pragma unroll 1
  for (int i = 0; i < (kRows * kChunks + kThreads - 1) / kThreads; ++i) {
    const int index = thread + i * kThreads;
    const int row = index / kChunks;
    const int chunk = index % kChunks;
    if (kRows * kChunks % kThreads != 0 && row >= kRows) break;
    const bool valid = row < valid_rows && chunk * 8 < head_dim;
    ptx::cp_async_zfill<16>(tile + Tile<kDim>::offset(row, chunk),
                            valid ? source + row * row_stride + chunk * 8 : source,
                            valid ? 16 : 0);
  }
}

// Whether kThreads threads copy a multiple of eight whole rows at a time: then all copies of a thread
// are swizzled alike, and are the first one at constant offsets.
template <int kDim, int kThreads>
inline constexpr bool swizzles_alike =
    kThreads % Tile<kDim>::kChunks == 0 && kThreads / Tile<kDim>::kChunks % 8 == 0;

// Whether kThreads threads copy whole rows of a swizzled tile at a time, one, two, four or a multiple of
// eight: then a thread's copies are its first one, XORed with and at constant offsets.
template <int kDim, int kThreads>
inline constexpr bool copies_whole_rows =
    Tile<kDim>::kSwizzled && kThreads % Tile<kDim>::kChunks == 0 &&
    (8 % (kThreads / Tile<kDim>::kChunks) == 0 || swizzles_alike<kDim, kThreads>);

// copy_tile_async() of rows that follow each other and have no column to fill up, where
// copies_whole_rows. Rows from valid_rows on aren't read, but must exist. Held against what is left, an
// offset is a constant too, and takes none of prefill's registers.
template <int kDim, int kRows, int kThreads, class T>
__device__ __forceinline__ void copy_whole_rows_async(unsigned char* tile, const T* source,
                                                      int valid_rows, int thread) {
  static_assert(copies_whole_rows<kDim, kThreads>);
  constexpr int kChunks = Tile<kDim>::kChunks;
  constexpr int kRowsAtOnce = kThreads / kChunks;
  static_assert(kRows % kRowsAtOnce == 0);
  const int row = thread / kChunks;
  const int left = valid_rows - row;
  const int target = Tile<kDim>::offset(row, thread % kChunks);
  const T* const first = source + thread * 8;
#pragma unroll
  for (int i = 0; i < kRows / kRowsAtOnce; ++i) {
    // Rows are multiples of 128 bytes: what a row is XORed into are bits 4 to 6 of the offset.
    const int swizzled = target ^ (i * kRowsAtOnce % 8 * 16);
    ptx::cp_async_zfill<16>(tile + swizzled + i * kRowsAtOnce * Tile<kDim>::kRowBytes,
                            first + i * kRowsAtOnce * kDim,
                            i * kRowsAtOnce < left ? 16 : 0);
  }
}

// Where a lane's ldmatrix rows lie: `row` and `chunk` say which row of a 16-row strip and which of two
// neighbouring chunks the lane addresses. Kept apart from the constant parts of an address, so that
// those become offsets of the instruction and not registers.
template <int kDim>
class LaneRows {
 public:
  __device__ __forceinline__ LaneRows(int row, int chunk)
      : offset_(row * Tile<kDim>::kRowBytes), chunk_(Tile<kDim>::kSwizzled ? chunk ^ (row & 7) : chunk) {}

  // Chunks 2 step and 2 step + 1 of the strip that begins with `first_row`, a multiple of 8.
  __device__ __forceinline__ const unsigned char* at(const unsigned char* tile, int first_row,
                                                     int step) const {
    const int chunk = Tile<kDim>::kSwizzled ? (step * 2) ^ chunk_ : step * 2 + chunk_;
    return tile + first_row * Tile<kDim>::kRowBytes + (offset_ + chunk * 16);
  }

 private:
  int offset_;
  int chunk_;
};

// ldmatrix_x4 at query_rows() gives the A fragment of 16 rows and columns [16 step, 16 step + 16).
template <int kDim>
__device__ __forceinline__ LaneRows<kDim> query_rows(int lane) {
  return {lane % 16, lane / 16};
}
// ldmatrix_x4 at key_rows() gives two B fragments for Q K^T: the strip's first eight keys in b[0..1],
// the other eight in b[2..3].
template <int kDim>
__device__ __forceinline__ LaneRows<kDim> key_rows(int lane) {
  return {lane / 16 * 8 + lane % 8, lane / 8 % 2};
}
// ldmatrix_x4_trans at value_rows() gives two B fragments for P V of the strip's 16 keys: columns
// [16 step, +8) in b[0..1], the next eight in b[2..3].
template <int kDim>
__device__ __forceinline__ LaneRows<kDim> value_rows(int lane) {
  return {lane % 16, lane / 16};
}

// d0 and d1 are neighbouring blocks of eight columns.
template <class T>
__device__ __forceinline__ void mma_pair(float (&d0)[4], float (&d1)[4],
                                         const std::uint32_t (&a)[4],
                                         const std::uint32_t (&b)[4]) {
  const std::uint32_t low[2] = {b[0], b[1]};
  const std::uint32_t high[2] = {b[2], b[3]};
  ptx::mma_m16n8k16<T>(d0, a, low);
  ptx::mma_m16n8k16<T>(d1, a, high);
}

// The A fragment of 16 keys' probabilities, from the accumulators of two blocks of eight: the
// accumulator's layout is the A fragment's.
template <class T>
__device__ __forceinline__ void probability_fragment(std::uint32_t (&a)[4], const float (&p0)[4],
                                                     const float (&p1)[4]) {
  a[0] = pair_bits(from_float2<T>(p0[0], p0[1]));
  a[1] = pair_bits(from_float2<T>(p0[2], p0[3]));
  a[2] = pair_bits(from_float2<T>(p1[0], p1[1]));
  a[3] = pair_bits(from_float2<T>(p1[2], p1[3]));
}

// Over the four lanes that hold a row of accumulators.
template <class Op>
__device__ __forceinline__ float quad_reduce(float x, Op op) {
  x = op(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return op(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

// Online softmax of one 16-row tile: each lane's two rows (lane / 4 and that + 8), in base 2.
struct SoftmaxRows {
  float maximum[2] = {-INFINITY, -INFINITY};  // of scaled scores, times log2(e)
  float sum[2] = {0, 0};  // of this lane's columns; reduced over the quad at the end

  // Turns kBlocks blocks of scores into probabilities against the new maximum and says in `rescale`
  // what to multiply earlier results by. Masked scores are -infinity; a row may have no other.
  template <int kBlocks>
  __device__ __forceinline__ void update(float (&scores)[kBlocks][4], float scale_log2,
                                         float (&rescale)[2]) {
#pragma unroll
    for (int half_row = 0; half_row < 2; ++half_row) {
      float top = -INFINITY;
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        top = fmaxf(top, fmaxf(scores[block][half_row * 2], scores[block][half_row * 2 + 1]));
      }
      top = quad_reduce(top, [](float a, float b) { return fmaxf(a, b); });
      const float next = fmaxf(maximum[half_row], top * scale_log2);
      // A row without any key yet: every difference below would be infinity minus infinity.
      const float reference = next == -INFINITY ? 0.0f : next;
      rescale[half_row] = ptx::exp2_approx(maximum[half_row] - reference);
      maximum[half_row] = next;
      float added = 0;
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& score = scores[block][half_row * 2 + i];
          score = ptx::exp2_approx(fmaf(score, scale_log2, -reference));
          added += score;
        }
      }
      sum[half_row] = fmaf(sum[half_row], rescale[half_row], added);
    }
  }

  __device__ __forceinline__ float total(int half_row) const {
    return quad_reduce(sum[half_row], [](float a, float b) { return a + b; });
  }
};

}  // namespace komt::kernels
