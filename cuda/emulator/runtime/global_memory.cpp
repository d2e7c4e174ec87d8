#include "emulator/runtime/global_memory.h"

#include <cstring>

#include "emulator/runtime/happens_before.h"
#include "emulator/runtime/report.h"
#include "emulator/runtime/virtual_memory.h"

namespace komt::emulator {

namespace {

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kGap = 256;
constexpr unsigned char kPoison = 0xff;  // NaN in every floating point format

std::size_t round_up(std::size_t x, std::size_t multiple) {
  return (x + multiple - 1) / multiple * multiple;
}

// Opens a stretch of pages for as long as the allocator itself writes there.
class Opened {
 public:
  Opened(unsigned char* begin, std::size_t bytes, bool is_open) : is_open_(is_open) {
    const auto first = reinterpret_cast<std::uintptr_t>(begin) / page_size() * page_size();
    const auto last = round_up(reinterpret_cast<std::uintptr_t>(begin) + bytes, page_size());
    begin_ = reinterpret_cast<unsigned char*>(first);
    bytes_ = last - first;
    if (!is_open_) protect_pages(begin_, bytes_, Protection::kReadWrite);
  }
  ~Opened() {
    if (!is_open_) protect_pages(begin_, bytes_, Protection::kNone);
  }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

 private:
  bool is_open_;
  unsigned char* begin_;
  std::size_t bytes_;
};

}  // namespace

GlobalMemory::~GlobalMemory() {
  if (base_ != nullptr) release_pages(base_, kReserved);
}

void GlobalMemory::fill(std::size_t begin, std::size_t bytes) {
  const Opened opened(base_ + begin, bytes, is_open_);
  allow_memory(base_ + begin, bytes);
  std::memset(base_ + begin, kPoison, bytes);
  forbid_memory(base_ + begin, bytes);
}

void* GlobalMemory::allocate(std::size_t bytes, std::size_t limit) {
  const std::lock_guard lock(mutex_);
  if (base_ == nullptr) {
    base_ = reserve_pages(kReserved, is_open_ ? Protection::kReadWrite : Protection::kNone);
    if (base_ == nullptr) return nullptr;
  }
  const std::size_t rounded = round_up(bytes, kAlignment);
  if (rounded < bytes || rounded > limit || used_ > limit - rounded) return nullptr;
  const std::size_t reserved = rounded + kGap;
  auto best = free_.end();
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    if (it->second >= reserved && (best == free_.end() || it->second < best->second)) best = it;
  }
  std::size_t begin = 0;
  if (best != free_.end()) {
    begin = best->first;
    const std::size_t rest = best->second - reserved;
    free_.erase(best);
    if (rest > 0) free_.emplace(begin + reserved, rest);
  } else {
    if (top_ + reserved > kReserved) return nullptr;
    begin = top_;
    top_ += reserved;
    fill(begin, reserved);
  }
  live_.emplace(begin, Block{bytes, reserved});
  used_ += rounded;
  allow_memory(base_ + begin, bytes);
  if (race_detection_enabled) mark_unwritten(base_ + begin, reserved);
  return base_ + begin;
}

bool GlobalMemory::free(void* p) {
  const std::lock_guard lock(mutex_);
  const std::size_t begin = static_cast<std::size_t>(static_cast<unsigned char*>(p) - base_);
  const auto found = live_.find(begin);
  if (base_ == nullptr || found == live_.end()) return false;
  const Block block = found->second;
  {
    const Opened opened(base_ + begin, block.reserved, is_open_);
    check_gap(begin, block);
  }
  live_.erase(found);
  used_ -= round_up(block.bytes, kAlignment);
  fill(begin, block.reserved);
  auto [it, inserted] = free_.emplace(begin, block.reserved);
  if (const auto next = std::next(it);
      next != free_.end() && it->first + it->second == next->first) {
    it->second += next->second;
    free_.erase(next);
  }
  if (it != free_.begin()) {
    if (const auto previous = std::prev(it); previous->first + previous->second == it->first) {
      previous->second += it->second;
      free_.erase(it);
    }
  }
  return true;
}

void GlobalMemory::free_all() {
  const std::lock_guard lock(mutex_);
  for (const auto& [begin, block] : live_) {
    fill(begin, block.reserved);
    free_.emplace(begin, block.reserved);
  }
  live_.clear();
  used_ = 0;
}

std::optional<GlobalMemory::Allocation> GlobalMemory::find(const void* p) const {
  const std::lock_guard lock(mutex_);
  if (!contains(p)) return std::nullopt;
  const std::size_t at = static_cast<std::size_t>(static_cast<const unsigned char*>(p) - base_);
  auto it = live_.upper_bound(at);
  if (it == live_.begin()) return std::nullopt;
  --it;
  if (at >= it->first + it->second.bytes) return std::nullopt;
  return Allocation{base_ + it->first, it->second.bytes};
}

bool GlobalMemory::contains(const void* p) const {
  return base_ != nullptr &&
         static_cast<std::size_t>(static_cast<const unsigned char*>(p) - base_) < kReserved;
}

std::size_t GlobalMemory::used() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

void GlobalMemory::check_gap([[maybe_unused]] std::size_t begin,
                             [[maybe_unused]] const Block& block) const {
#if !KOMT_EMULATOR_ASAN
  for (std::size_t at = block.bytes; at < block.reserved; ++at) {
    if (base_[begin + at] == kPoison) continue;
    report(Check::kOutOfBounds, kNowhere,
           "global memory was written %zu bytes behind the end of an allocation of %zu bytes",
           at - block.bytes, block.bytes);
    std::memset(base_ + begin + block.bytes, kPoison, block.reserved - block.bytes);
    return;
  }
#endif
}

void GlobalMemory::check_gaps() const {
  const std::lock_guard lock(mutex_);
  if (top_ == 0) return;
  const Opened opened(base_, top_, is_open_);
  for (const auto& [begin, block] : live_) check_gap(begin, block);
}

void GlobalMemory::open() {
  const std::lock_guard lock(mutex_);
  is_open_ = true;
  if (base_ != nullptr) protect_pages(base_, kReserved, Protection::kReadWrite);
}

void GlobalMemory::close() {
  const std::lock_guard lock(mutex_);
  is_open_ = false;
  if (base_ != nullptr) protect_pages(base_, kReserved, Protection::kNone);
}

}  // namespace komt::emulator
