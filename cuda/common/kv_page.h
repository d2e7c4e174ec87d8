#pragma once

namespace komt::kernels {

/// Tokens in one page of the key/value cache, [pages, num_kv_heads, kPageTokens, head_dim]: the one
/// size that the kernels which read and write the cache are compiled for.
inline constexpr int kPageTokens = 64;

}  // namespace komt::kernels
