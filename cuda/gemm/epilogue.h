// What happens to a finished result, as the launchers tell the kernels.
#pragma once

#include "gemm/linear.h"

namespace komt::kernels {

struct EpilogueParams {
  LinearEpilogue kind;
  bool float_output;  // only for `store`
  int rows;
  int n;
  const float* bias;
  void* output;
  RopeAppend rope;
};

}  // namespace komt::kernels
