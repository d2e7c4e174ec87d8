// Host twin of ptx/stmatrix.cuh.
#pragma once

#include "emulator/device/execution.h"
#include "emulator/device/vector_types.h"

namespace komt::emulator {

struct StoredRow {
  alignas(16) std::uint16_t elements[8];
  const std::uint32_t* fragments;
};

// Every lane gathers the row it has the address of, and writes it itself.
template <int kMatrices, bool kTransposed>
inline void collect_rows(void* const* arguments, unsigned) {
  for (int lane = 0; lane < 8 * kMatrices; ++lane) {
    const int matrix = lane / 8;
    const int row = lane % 8;
    for (int column = 0; column < 8; ++column) {
      const int r = kTransposed ? column : row;
      const int c = kTransposed ? row : column;
      const auto* holder = static_cast<const StoredRow*>(arguments[r * 4 + c / 2]);
      static_cast<StoredRow*>(arguments[lane])->elements[column] =
          static_cast<std::uint16_t>(holder->fragments[matrix] >> (c % 2 * 16));
    }
  }
}

template <int kMatrices, bool kTransposed>
inline constexpr Collective kStmatrix{kTransposed ? "stmatrix.trans" : "stmatrix",
                                      collect_rows<kMatrices, kTransposed>, false, true};

template <int kMatrices, bool kTransposed>
inline void stmatrix(void* row, const std::uint32_t* fragments, SourceLocation where) {
  StoredRow argument;
  argument.fragments = fragments;
  warp_collective(0xffffffffu, kStmatrix<kMatrices, kTransposed>, &argument, where);
  if (current_lane < 8 * kMatrices) {
    if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0) {
      report_misuse("stmatrix: a row's address isn't a multiple of 16", where);
    }
    *static_cast<uint4*>(row) = *reinterpret_cast<const uint4*>(argument.elements);
  }
}

}  // namespace komt::emulator

#define KOMT_EMULATOR_STMATRIX(name, matrices, transposed)                                 \
  inline void name(void* row, const std::uint32_t(&r)[matrices],                           \
                   emulator::SourceLocation where = emulator::SourceLocation::current()) { \
    emulator::stmatrix<matrices, transposed>(row, r, where);                               \
  }

namespace komt::ptx {

KOMT_EMULATOR_STMATRIX(stmatrix_x2, 2, false)
KOMT_EMULATOR_STMATRIX(stmatrix_x4, 4, false)
KOMT_EMULATOR_STMATRIX(stmatrix_x4_trans, 4, true)

}  // namespace komt::ptx

#undef KOMT_EMULATOR_STMATRIX
