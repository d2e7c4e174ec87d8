// Host twin of ptx/math.cuh: the accurate functions, with the device's treatment of subnormals.
#pragma once

#include <cmath>

#include "emulator/device/qualifiers.h"

namespace komt::ptx {

inline float exp2_approx(float x) {
  const float y = std::exp2(x);
  return std::fpclassify(y) == FP_SUBNORMAL ? 0.0f : y;
}

}  // namespace komt::ptx
