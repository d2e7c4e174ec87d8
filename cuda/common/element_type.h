// Element types as launchers take them at run time; the kernels behind are templates over
// float, half and bfloat16 (element.cuh).
#pragma once

#include <cstdint>

namespace komt::kernels {

/// f64 occurs in checkpoints only: a source of conversions, never a type of activations.
enum class ElementType : std::uint8_t { f32, f16, bf16, f64 };

}  // namespace komt::kernels
