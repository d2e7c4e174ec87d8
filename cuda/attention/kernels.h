// The two kernels behind attention(), and what they share.
#pragma once

#include <type_traits>

#include "attention/attention.h"
#include "common/kv_page.h"

namespace komt::kernels {

// function(std::integral_constant<int, kDim>{}, std::bool_constant<head_dim == kDim>{}): kernels for the
// head sizes that models have, and wider ones padded with zeros for the others.
template <class Function>
cudaError_t dispatch_head_dim(int head_dim, Function&& function) {
  constexpr auto exact = std::true_type{};
  constexpr auto padded = std::false_type{};
  switch (head_dim) {
    case 64: return function(std::integral_constant<int, 64>{}, exact);
    case 80: return function(std::integral_constant<int, 80>{}, exact);
    case 96: return function(std::integral_constant<int, 96>{}, exact);
    case 128: return function(std::integral_constant<int, 128>{}, exact);
    default: break;
  }
  if (head_dim <= 32) return function(std::integral_constant<int, 32>{}, padded);
  if (head_dim < 64) return function(std::integral_constant<int, 64>{}, padded);
  if (head_dim < 128) return function(std::integral_constant<int, 128>{}, padded);
  return function(std::integral_constant<int, 256>{}, padded);
}

// Sequences with two or more new tokens; leaves the others' output alone.
cudaError_t attention_prefill(const AttentionArgs& args, cudaStream_t stream);
// Sequences with one new token; leaves the others' output alone.
cudaError_t attention_decode(const AttentionArgs& args, cudaStream_t stream);

}  // namespace komt::kernels
