// From an ElementType to a template argument.
#pragma once

#include "common/element.cuh"
#include "common/element_type.h"

namespace komt::kernels {

template <class T>
struct TypeTag {
  using type = T;
};

/// function(TypeTag<half>{}) or function(TypeTag<bfloat16>{}); cudaErrorInvalidValue for the others.
template <class Function>
cudaError_t dispatch_16bit(ElementType type, Function&& function) {
  switch (type) {
    case ElementType::f16: return function(TypeTag<half>{});
    case ElementType::bf16: return function(TypeTag<bfloat16>{});
    default: return cudaErrorInvalidValue;
  }
}

/// The same with TypeTag<float>.
template <class Function>
cudaError_t dispatch_float(ElementType type, Function&& function) {
  if (type == ElementType::f32) return function(TypeTag<float>{});
  return dispatch_16bit(type, function);
}

}  // namespace komt::kernels
