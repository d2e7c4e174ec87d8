#include "engine/kv_cache.h"

#include <algorithm>
#include <string>

#include "engine/error.h"

namespace komt {

namespace {
int blocks_for(int tokens) { return (tokens + kKvBlockTokens - 1) / kKvBlockTokens; }
}  // namespace

void BlockAllocator::require(int count) {
  const int missing = count - int(free_.size());
  if (missing <= 0) return;
  const int have = int(references_.size());
  const int now = std::max(storage_.grow(have + missing), have);
  references_.reserve(size_t(now));
  free_.reserve(size_t(now));
  // From here on nothing throws: pages are either counted and free, or neither.
  references_.resize(size_t(now), 0);
  free_.insert(free_.begin(), size_t(now - have), 0);
  // Highest first, so that pages are handed out in ascending order.
  for (int b = have; b < now; ++b) free_[size_t(now - 1 - b)] = b;
  if (int(free_.size()) < count) {
    throw Error::out_of_memory(
        "The key/value cache is full: " + std::to_string(count) + " more pages of " +
            std::to_string(kKvBlockTokens) + " tokens are needed, " + std::to_string(free_.size()) +
            " of " + std::to_string(references_.size()) +
            " are free. Use shorter or fewer sequences, or give the cache more memory (cache_tokens)",
        uint64_t(count) * storage_.block_bytes, free_.size() * storage_.block_bytes);
  }
}

int32_t BlockAllocator::take() {
  const int32_t block = free_.back();
  free_.pop_back();
  references_[block] = 1;
  return block;
}

void BlockAllocator::drop(int32_t block) noexcept {
  if (--references_[block] == 0) free_.push_back(block);
}

void BlockAllocator::extend(SequenceCache& sequence, int count) {
  if (count <= 0) return;
  if (count > kMaxSequenceTokens - sequence.length) {
    throw Error(ErrorKind::invalid_argument,
                "A sequence of " + std::to_string(int64_t(sequence.length) + count) +
                    " tokens is longer than any can be (" + std::to_string(kMaxSequenceTokens) + ")");
  }
  const int old_blocks = int(sequence.blocks.size());
  const int new_blocks = blocks_for(sequence.length + count);
  const bool copy_last = sequence.length % kKvBlockTokens != 0 &&
                         references_[sequence.blocks[old_blocks - 1]] > 1;
  require(new_blocks - old_blocks + (copy_last ? 1 : 0));
  sequence.blocks.reserve(size_t(new_blocks));
  if (copy_last) {
    const int32_t shared = sequence.blocks.back();
    const int32_t pair[2] = {shared, free_.back()};
    storage_.copy(pair);  // may throw: the page is taken afterwards
    sequence.blocks.back() = take();
    drop(shared);
  }
  while (int(sequence.blocks.size()) < new_blocks) sequence.blocks.push_back(take());
  sequence.length += count;
}

SequenceCache BlockAllocator::fork(const SequenceCache& sequence) {
  SequenceCache copy = sequence;  // may throw: counted afterwards
  for (int32_t block : copy.blocks) ++references_[block];
  return copy;
}

void BlockAllocator::truncate(SequenceCache& sequence, int length) noexcept {
  if (length >= sequence.length) return;
  const int keep = blocks_for(length);
  while (int(sequence.blocks.size()) > keep) {
    drop(sequence.blocks.back());
    sequence.blocks.pop_back();
  }
  sequence.length = length;
}

}  // namespace komt
