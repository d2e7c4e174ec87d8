#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/backend.h"

namespace komt {

/// Tokens a sequence may have: far beyond any context, and lengths, positions and page counts derived
/// from it stay far inside 32 bits. What really ends a sequence is memory.
inline constexpr int kMaxSequenceTokens = 1 << 27;

/// One sequence's place in the paged cache: its pages in order, and how many tokens they hold.
struct SequenceCache {
  std::vector<int32_t> blocks;
  int length = 0;
};

/// Which pages are taken, and by how many sequences. Knows nothing of the memory behind them: growing
/// and copying are asked of the owner, so that one allocator serves layers spread over devices.
class BlockAllocator {
 public:
  struct Storage {
    /// Makes room for at least `blocks` pages; returns how many there are now (fewer = no more room).
    std::function<int(int blocks)> grow;
    /// Copies pages, (source, target) pairs.
    std::function<void(std::span<const int32_t> pairs)> copy;
    /// Bytes of one page over all layers, for messages.
    uint64_t block_bytes = 0;
  };

  explicit BlockAllocator(Storage storage) : storage_(std::move(storage)) {}

  /// Extends `sequence` by `count` tokens: takes pages, and copies its last page first where that is
  /// shared and would be written. Throws out_of_memory and changes nothing when pages run out, and
  /// invalid_argument beyond kMaxSequenceTokens.
  void extend(SequenceCache& sequence, int count);
  /// A second owner of the same pages.
  SequenceCache fork(const SequenceCache& sequence);
  /// Keeps the first `length` >= 0 tokens; all of them where there are fewer.
  void truncate(SequenceCache& sequence, int length) noexcept;
  void release(SequenceCache& sequence) noexcept { truncate(sequence, 0); }

  int blocks_in_use() const { return int(references_.size()) - int(free_.size()); }

 private:
  void require(int count);
  int32_t take();
  void drop(int32_t block) noexcept;

  Storage storage_;
  std::vector<int32_t> references_;  ///< per page: sequences that hold it
  /// Stack of pages nobody holds. Has room for all, so that giving back never allocates.
  std::vector<int32_t> free_;
};

}  // namespace komt
