#pragma once
#include "common/element_type.h"
#include "engine/dtype.h"

namespace komt::cuda {

/// The engine's element types as the kernels' launchers name them.
constexpr kernels::ElementType element_type(DType dtype) {
  switch (dtype) {
    case DType::f16: return kernels::ElementType::f16;
    case DType::bf16: return kernels::ElementType::bf16;
    case DType::f64: return kernels::ElementType::f64;
    default: return kernels::ElementType::f32;
  }
}

}  // namespace komt::cuda
