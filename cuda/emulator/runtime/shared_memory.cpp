#include "emulator/runtime/shared_memory.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>

#include "emulator/runtime/block.h"
#include "emulator/runtime/happens_before.h"
#include "emulator/runtime/report.h"
#include "emulator/runtime/virtual_memory.h"

namespace komt::emulator {

namespace {

constexpr std::size_t kGap = 128;
// Of KOMT_SHARED and KOMT_DYN_SHARED. On a device dynamic memory follows static, whose size is
// therefore rounded up.
constexpr std::size_t kStaticAlignment = 128;
constexpr std::size_t kDynamicAlignment = 1024;
constexpr unsigned char kGapByte = 0xff;

std::size_t round_up(std::size_t x, std::size_t multiple) {
  return (x + multiple - 1) / multiple * multiple;
}

int site_id(SharedSite& site) {
  static std::mutex mutex;
  static int next = 0;
  const std::lock_guard lock(mutex);
  if (site.id < 0) __atomic_store_n(&site.id, next++, __ATOMIC_RELEASE);
  return site.id;
}

}  // namespace

SharedMemory::SharedMemory() : base_(reserve_pages(kCapacity, Protection::kReadWrite)) {
  if (base_ == nullptr) throw std::bad_alloc();
}

SharedMemory::~SharedMemory() {
  allow_memory(base_, kCapacity);
  release_pages(base_, kCapacity);
}

void SharedMemory::add(std::size_t begin, std::size_t bytes, const char* name) {
  const std::size_t end = begin + bytes;
  used_ = round_up(end, kStaticAlignment) + kGap;
  allow_memory(base_ + begin, used_ - begin);
  std::memset(base_ + begin, kGapByte, used_ - begin);
  forbid_memory(base_ + end, used_ - end);
  if (race_detection_enabled) mark_fresh(base_ + begin, bytes);
  ranges_.push_back({begin, end, name});
}

void SharedMemory::reset(std::size_t dynamic_bytes, std::size_t limit) {
  ++generation_;
  ranges_.clear();
  static_bytes_ = 0;
  dynamic_bytes_ = dynamic_bytes;
  limit_ = limit;
  forbid_memory(base_, std::max(used_, std::size_t{1}));
  add(0, dynamic_bytes, "dynamic shared memory");
}

// A device knows a kernel's static bytes before the launch and refuses it; here they are known when a
// thread comes by the declaration, so that the block is given up instead.
void SharedMemory::require_room(const SharedSite& site) {
  static_bytes_ = round_up(static_bytes_, kStaticAlignment) + site.bytes;
  if (static_bytes_ > kDefaultBlockShared) {
    report(Check::kMisuse, kNowhere, "%zu bytes of static shared memory with %s: at most %zu",
           static_bytes_, site.name, kDefaultBlockShared);
  }
  const std::size_t total =
      dynamic_bytes_ == 0 ? static_bytes_
                          : round_up(static_bytes_, kDynamicAlignment) + dynamic_bytes_;
  if (total > limit_) {
    report(Check::kMisuse, kNowhere,
           "%zu bytes of dynamic shared memory make %zu with %s and the static arrays before it: a "
           "device refuses a launch with more than %zu (cudaFuncSetAttribute with "
           "cudaFuncAttributeMaxDynamicSharedMemorySize raises the limit)",
           dynamic_bytes_, total, site.name, limit_);
    current_block->abandon(cudaErrorInvalidValue);
  }
}

unsigned char* SharedMemory::place(SharedSite& site) {
  int id = __atomic_load_n(&site.id, __ATOMIC_ACQUIRE);
  if (id < 0) id = site_id(site);
  if (static_cast<std::size_t>(id) >= offsets_.size()) {
    offsets_.resize(id + 64);
    placed_in_.resize(id + 64);
  }
  if (placed_in_[id] != generation_) {
    require_room(site);
    if (used_ + site.bytes + kStaticAlignment + kGap > kCapacity) {
      current_block->abandon(cudaErrorLaunchOutOfResources);
    }
    offsets_[id] = used_;
    placed_in_[id] = generation_;
    add(used_, site.bytes, site.name);
  }
  return base_ + offsets_[id];
}

bool SharedMemory::is_allocated(const void* p, std::size_t bytes) const {
  const std::size_t begin = offset(p);
  for (const Range& range : ranges_) {
    if (begin >= range.begin && begin + bytes <= range.end) return true;
  }
  return false;
}

void SharedMemory::check_gaps() {
#if !KOMT_EMULATOR_ASAN
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    const std::size_t end = i + 1 < ranges_.size() ? ranges_[i + 1].begin : used_;
    for (std::size_t at = ranges_[i].end; at < end; ++at) {
      if (base_[at] == kGapByte) continue;
      report(Check::kOutOfBounds, kNowhere,
             "shared memory was written %zu bytes behind the end of %s (%zu bytes)",
             at - ranges_[i].end, ranges_[i].name, ranges_[i].end - ranges_[i].begin);
      break;
    }
  }
#endif
}

void* static_shared(SharedSite& site) { return current_block->shared().place(site); }
void* dynamic_shared() { return current_block->shared().dynamic(); }

}  // namespace komt::emulator
