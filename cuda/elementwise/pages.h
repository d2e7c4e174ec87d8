#pragma once

#include "common/platform.cuh"

namespace komt::kernels {

// target page target_pages[i * index_stride] = source page source_pages[i * index_stride], for keys
// and values alike. Without an index array the pages are 0, 1, 2...:
//   copy-on-write   both sides in the cache, both indices in one array of (source, target) pairs
//                   (index_stride 2, target_pages = source_pages + 1)
//   gather          cache pages -> a contiguous buffer (target_pages null)
//   scatter         a contiguous buffer -> cache pages (source_pages null)
// Pages are copied in no order: targets are distinct, and none is another copy's source. To permute
// pages in place, gather them and scatter them back.
struct CopyPagesArgs {
  const void* source_keys = nullptr;
  const void* source_values = nullptr;
  void* target_keys = nullptr;
  void* target_values = nullptr;
  const std::int32_t* source_pages = nullptr;
  const std::int32_t* target_pages = nullptr;
  int index_stride = 1;
  int count = 0;
  std::size_t page_bytes = 0;  // num_kv_heads * 64 * head_dim * element size; a multiple of 16
};

// cudaErrorInvalidValue for a page size that isn't a positive multiple of 16 or a negative count.
cudaError_t copy_pages(const CopyPagesArgs& args, cudaStream_t stream);

}  // namespace komt::kernels
