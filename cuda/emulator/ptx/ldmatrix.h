// Host twin of ptx/ldmatrix.cuh.
#pragma once

#include "emulator/device/execution.h"
#include "emulator/device/vector_types.h"

namespace komt::emulator {

struct MatrixRow {
  alignas(16) std::uint16_t elements[8];
  std::uint32_t* fragments;
};

template <int kMatrices, bool kTransposed>
inline void distribute_rows(void* const* arguments, unsigned) {
  for (int matrix = 0; matrix < kMatrices; ++matrix) {
    for (int lane = 0; lane < 32; ++lane) {
      const int row = lane / 4;
      const int column = lane % 4 * 2;
      const auto element = [&](int r, int c) -> std::uint32_t {
        return static_cast<const MatrixRow*>(arguments[matrix * 8 + r])->elements[c];
      };
      static_cast<MatrixRow*>(arguments[lane])->fragments[matrix] =
          kTransposed ? element(column, row) | element(column + 1, row) << 16
                      : element(row, column) | element(row, column + 1) << 16;
    }
  }
}

// Each lane reads its own row here, in code that the sanitizers see, so that a bad address or a
// race is reported as this lane's.
template <int kMatrices, bool kTransposed>
inline void ldmatrix(std::uint32_t* fragments, const void* row, const Collective& collective,
                     SourceLocation where) {
  MatrixRow argument;
  argument.fragments = fragments;
  if (current_lane < 8 * kMatrices) {
    if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0) {
      report_misuse("ldmatrix: a row's address isn't a multiple of 16", where);
    }
    *reinterpret_cast<uint4*>(argument.elements) = *static_cast<const uint4*>(row);
  }
  warp_collective(0xffffffffu, collective, &argument, where);
}

template <int kMatrices, bool kTransposed>
inline constexpr Collective kLdmatrix{kTransposed ? "ldmatrix.trans" : "ldmatrix",
                                      distribute_rows<kMatrices, kTransposed>, false, true};

}  // namespace komt::emulator

#define KOMT_EMULATOR_LDMATRIX(name, matrices, transposed)                                      \
  inline void name(std::uint32_t(&r)[matrices], const void* row,                                \
                   emulator::SourceLocation where = emulator::SourceLocation::current()) {      \
    emulator::ldmatrix<matrices, transposed>(r, row, emulator::kLdmatrix<matrices, transposed>, \
                                             where);                                            \
  }

namespace komt::ptx {

KOMT_EMULATOR_LDMATRIX(ldmatrix_x1, 1, false)
KOMT_EMULATOR_LDMATRIX(ldmatrix_x1_trans, 1, true)
KOMT_EMULATOR_LDMATRIX(ldmatrix_x2, 2, false)
KOMT_EMULATOR_LDMATRIX(ldmatrix_x2_trans, 2, true)
KOMT_EMULATOR_LDMATRIX(ldmatrix_x4, 4, false)
KOMT_EMULATOR_LDMATRIX(ldmatrix_x4_trans, 4, true)

}  // namespace komt::ptx

#undef KOMT_EMULATOR_LDMATRIX
