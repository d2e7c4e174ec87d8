// What is remembered of memory: which bytes have been written, who accessed them last.
#pragma once

#include <cstddef>
#include <cstdint>

#include "emulator/race/places.h"

namespace komt::emulator {

// One access, of two neighbouring bytes or of one of them.
struct AccessRecord {
  std::uint32_t clock = 0;  // of the thread; 0: no access
  std::uint32_t launch = 0;
  std::uint32_t block = 0;
  std::uint16_t thread = 0;
  std::uint8_t bytes = 0;  // bit mask
  bool is_atomic : 1 = false;
  bool before_grid_wait : 1 = false;
  Place place = 0;
};

struct ShadowCell {
  AccessRecord write;
  AccessRecord reads[2];
  bool in_flight = false;          // the target of a cp.async that hasn't been waited for
  std::uint16_t async_reads = 0;  // by wgmma that haven't been waited for
};

inline constexpr std::size_t kCellBytes = 2;

// The cell of the byte at p; made when first asked for.
ShadowCell& shadow_cell(const void* p);

bool is_written(const void* p);
void set_written(const void* p, std::size_t bytes, bool written);
void forget_accesses(const void* p, std::size_t bytes);

}  // namespace komt::emulator
