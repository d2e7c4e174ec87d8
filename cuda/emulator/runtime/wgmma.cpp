// wgmma: products that are issued, committed and waited for, warp by warp.
#include <cstring>
#include <limits>

#include "emulator/device/bfloat16.h"
#include "emulator/device/half.h"
#include "emulator/ptx/wgmma.h"
#include "emulator/runtime/block.h"
#include "emulator/runtime/happens_before.h"
#include "emulator/runtime/report.h"

namespace komt::emulator {

namespace {

constexpr int kRowsOfWarp = 16;
constexpr int kK = 16;
constexpr int kChunkBytes = 16;

WgmmaQueue& queue() { return current_block->warp(current_fiber->warp).wgmma; }

int first_row_of_warp() { return static_cast<int>(current_fiber->warp % 4) * kRowsOfWarp; }

// Where 16-byte chunk `chunk` of a tile's row lies, as the operand's 64 bits say.
unsigned char* chunk_address(std::uint64_t operand, int row, int chunk) {
  std::uint32_t at = static_cast<std::uint32_t>(operand & 0x3fff) << 4;
  const std::uint32_t group_bytes = static_cast<std::uint32_t>(operand >> 32 & 0x3fff) << 4;
  at += static_cast<std::uint32_t>(row / 8) * group_bytes + static_cast<std::uint32_t>(row % 8) * 128 +
        static_cast<std::uint32_t>(chunk) * kChunkBytes;
  at ^= (at >> 7 & 7) << 4;
  return current_block->shared().dynamic() + at;
}

float element(const unsigned char* p, bool bfloat16) {
  std::uint16_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  if (!bfloat16) return half_bits_to_float(bits);
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

// NaN where the tile isn't in the block's memory.
void read_row(const PendingWgmma& product, std::uint64_t operand, int row, float (&values)[kK]) {
  for (int chunk = 0; chunk < 2; ++chunk) {
    const unsigned char* p = chunk_address(operand, row, chunk);
    if (!current_block->shared().is_allocated(p, kChunkBytes)) {
      report(Check::kOutOfBounds, product.where,
             "wgmma reads row %d of an operand at offset %zu, outside the block's shared memory", row,
             current_block->shared().offset(p));
      for (int i = 0; i < 8; ++i) values[8 * chunk + i] = std::numeric_limits<float>::quiet_NaN();
      continue;
    }
    if (race_detection_enabled) end_async_read(p, kChunkBytes, product.where);
    for (int i = 0; i < 8; ++i) values[8 * chunk + i] = element(p + 2 * i, product.bfloat16);
  }
}

// The rows of an operand that this warp reads.
void begin_reads(std::uint64_t operand, int first_row, int rows) {
  for (int row = first_row; row < first_row + rows; ++row) {
    for (int chunk = 0; chunk < 2; ++chunk) {
      const unsigned char* p = chunk_address(operand, row, chunk);
      if (current_block->shared().is_allocated(p, kChunkBytes)) begin_async_read(p, kChunkBytes);
    }
  }
}

// Sums in float in ascending k, as the twin of mma.sync has them.
void carry_out(PendingWgmma& product, std::vector<float>& sums) {
  const int columns = product.columns;
  const int first_row = first_row_of_warp();
  static thread_local std::vector<float> b;
  b.resize(static_cast<std::size_t>(kK) * columns);
  for (int n = 0; n < columns; ++n) {
    float row[kK];
    read_row(product, product.b, n, row);
    for (int k = 0; k < kK; ++k) b[static_cast<std::size_t>(k) * columns + n] = row[k];
  }
  for (int m = 0; m < kRowsOfWarp; ++m) {
    float a[kK];
    read_row(product, product.a, first_row + m, a);
    float* const to = sums.data() + static_cast<std::size_t>(m) * columns;
    if (!product.add) std::memset(to, 0, sizeof(float) * columns);
    for (int k = 0; k < kK; ++k) {
      const float* from = b.data() + static_cast<std::size_t>(k) * columns;
      for (int n = 0; n < columns; ++n) to[n] += a[k] * from[n];
    }
  }
  product.done = true;
}

// Row, and column of the first of two, that lane and register hold.
struct Held {
  int row;
  int column;
};
Held held(int lane, int reg) {
  return {lane / 4 + reg / 2 % 2 * 8, reg / 4 * 8 + lane % 4 * 2 + reg % 2};
}

void gather(const PendingWgmma& product, std::vector<float>& sums) {
  for (int lane = 0; lane < static_cast<int>(kWarpLanes); ++lane) {
    for (int reg = 0; reg < product.columns / 2; ++reg) {
      const Held at = held(lane, reg);
      sums[static_cast<std::size_t>(at.row) * product.columns + at.column] = product.d[lane][reg];
    }
  }
}

void poison(const PendingWgmma& product) {
  for (float* d : product.d) {
    for (int i = 0; i < product.columns / 2; ++i) d[i] = std::numeric_limits<float>::quiet_NaN();
  }
}

void scatter(const PendingWgmma& product, const std::vector<float>& sums) {
  for (int lane = 0; lane < static_cast<int>(kWarpLanes); ++lane) {
    for (int reg = 0; reg < product.columns / 2; ++reg) {
      const Held at = held(lane, reg);
      product.d[lane][reg] = sums[static_cast<std::size_t>(at.row) * product.columns + at.column];
    }
  }
}

bool is_valid(const WgmmaArgument& first, void* const* arguments) {
  for (unsigned lane = 1; lane < kWarpLanes; ++lane) {
    const auto& other = *static_cast<const WgmmaArgument*>(arguments[lane]);
    if (other.a != first.a || other.b != first.b || other.add != first.add) {
      report(Check::kMisuse, first.where, "wgmma: lane %u names other operands than lane 0", lane);
      return false;
    }
  }
  const unsigned group = current_fiber->warp / 4;
  if ((group + 1) * 4 * kWarpLanes > current_block->threads()) {
    report(Check::kMisuse, first.where, "wgmma: warp %u isn't one of a whole warpgroup of 128 threads",
           current_fiber->warp);
    return false;
  }
  for (const std::uint64_t operand : {first.a, first.b}) {
    const bool is_swizzled = operand >> 62 == 1;
    // The first of a group's 8 rows, whatever the column.
    const bool is_aligned = (operand & 0x3fff) % (1024 / kChunkBytes) < 128 / kChunkBytes;
    if (!is_swizzled || !is_aligned) {
      report(Check::kMisuse, first.where,
             "wgmma: an operand of bits %016llx: expected the 128-byte swizzle, from a multiple of 1024",
             static_cast<unsigned long long>(operand));
      return false;
    }
  }
  return true;
}

}  // namespace

void wgmma_fence(void* const*, unsigned) { queue().fenced = true; }

void wgmma_issue(void* const* arguments, unsigned) {
  WgmmaQueue& q = queue();
  const auto& first = *static_cast<const WgmmaArgument*>(arguments[0]);
  if (!is_valid(first, arguments)) return;
  if (!q.fenced) {
    report(Check::kMisuse, first.where,
           "wgmma without a wgmma_fence() since its registers could last be touched");
    q.fenced = true;
  }
  PendingWgmma product{{}, first.a, first.b, first.add, first.columns, first.bfloat16, false, first.where};
  for (unsigned lane = 0; lane < kWarpLanes; ++lane) {
    product.d[lane] = static_cast<const WgmmaArgument*>(arguments[lane])->d;
  }
  if (q.products.empty()) {
    q.sums.assign(static_cast<std::size_t>(kRowsOfWarp) * first.columns, 0.0f);
    if (first.add) gather(product, q.sums);
  } else if (q.products.front().d[0] != product.d[0] || q.products.front().columns != product.columns) {
    report(Check::kMisuse, first.where, "the emulator has wgmma into one set of registers at a time");
    return;
  }
  poison(product);
  q.products.push_back(product);
  if (race_detection_enabled) {
    begin_reads(product.a, first_row_of_warp(), kRowsOfWarp);
    begin_reads(product.b, 0, product.columns);
  }
  // As with cp.async: the race detector wants them late.
  Block& block = *current_block;
  if (block.in_order() || race_detection_enabled || !block.random().one_in(2)) return;
  for (PendingWgmma& pending : q.products) {
    if (!pending.done) carry_out(pending, q.sums);
  }
}

void wgmma_commit(void* const*, unsigned) {
  WgmmaQueue& q = queue();
  q.groups.push_back(q.products.size());
}

void wgmma_wait(void* const* arguments, unsigned) {
  WgmmaQueue& q = queue();
  const auto& argument = *static_cast<const WgmmaWaitArgument*>(arguments[0]);
  const auto keep = static_cast<std::size_t>(argument.groups);
  if (q.groups.size() <= keep) return;
  const std::size_t done_groups = q.groups.size() - keep;
  const std::size_t done = q.groups[done_groups - 1];
  for (std::size_t i = 0; i < done; ++i) {
    if (!q.products[i].done) carry_out(q.products[i], q.sums);
  }
  // Registers that later products add to aren't there yet.
  if (done == q.products.size() && done > 0) {
    scatter(q.products.back(), q.sums);
    q.fenced = false;
  }
  q.products.erase(q.products.begin(), q.products.begin() + static_cast<std::ptrdiff_t>(done));
  q.groups.erase(q.groups.begin(), q.groups.begin() + static_cast<std::ptrdiff_t>(done_groups));
  for (std::size_t& end : q.groups) end -= done;
}

void fence_proxy_async() {
  if (race_detection_enabled) order_proxy_fence(*current_block, *current_fiber);
}

}  // namespace komt::emulator
