#include "emulator/runtime/pinned_memory.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "emulator/runtime/settings.h"
#include "emulator/runtime/virtual_memory.h"

namespace komt::emulator {

namespace {

constexpr int kPoisonByte = 0xff;

std::size_t whole_pages(std::size_t bytes) {
  return (std::max(bytes, std::size_t{1}) + page_size() - 1) / page_size() * page_size();
}

}  // namespace

void* PinnedMemory::allocate(std::size_t bytes) {
  const std::size_t reserved = whole_pages(bytes);
  unsigned char* pages = reserve_pages(reserved, Protection::kReadWrite);
  if (pages == nullptr) return nullptr;
  std::memset(pages, kPoisonByte, reserved);
  forbid_memory(pages + bytes, reserved - bytes);
  const std::lock_guard lock(mutex_);
  live_.emplace(pages, reserved);
  return pages;
}

bool PinnedMemory::free(void* p) {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(static_cast<unsigned char*>(p));
  if (found == live_.end()) return false;
  allow_memory(found->first, found->second);
  release_pages(found->first, found->second);
  live_.erase(found);
  return true;
}

const std::pair<unsigned char* const, std::size_t>* PinnedMemory::find(const void* p) const {
  auto it = live_.upper_bound(static_cast<unsigned char*>(const_cast<void*>(p)));
  if (it == live_.begin()) return nullptr;
  --it;
  return static_cast<const unsigned char*>(p) < it->first + it->second ? &*it : nullptr;
}

bool PinnedMemory::contains(const void* p, std::size_t bytes) const {
  const std::lock_guard lock(mutex_);
  const auto* found = find(p);
  return found != nullptr &&
         static_cast<const unsigned char*>(p) + bytes <= found->first + found->second;
}

void PinnedMemory::protect(const Transfer& transfer) {
  const auto first = reinterpret_cast<std::uintptr_t>(transfer.begin) / page_size() * page_size();
  const auto end = reinterpret_cast<std::uintptr_t>(transfer.begin) + transfer.bytes;
  protect_pages(reinterpret_cast<unsigned char*>(first), whole_pages(end - first),
                transfer.written ? Protection::kNone : Protection::kRead);
}

void PinnedMemory::begin_transfer(const void* p, std::size_t bytes, bool written) {
  if (!settings().host_access_check || bytes == 0) return;
  const std::lock_guard lock(mutex_);
  if (find(p) == nullptr) return;
  transfers_.push_back({static_cast<const unsigned char*>(p), bytes, written});
  protect(transfers_.back());
}

void PinnedMemory::end_transfer(const void* p, std::size_t bytes, bool written) {
  const std::lock_guard lock(mutex_);
  const auto ended = std::find_if(transfers_.begin(), transfers_.end(), [&](const Transfer& t) {
    return t.begin == p && t.bytes == bytes && t.written == written;
  });
  if (ended == transfers_.end()) return;
  transfers_.erase(ended);
  const auto* whole = find(p);
  if (whole == nullptr) return;
  protect_pages(whole->first, whole->second, Protection::kReadWrite);
  for (const Transfer& transfer : transfers_) {
    if (find(transfer.begin) == whole) protect(transfer);
  }
}

PinnedMemory::Fault PinnedMemory::on_fault(const void* p) {
  const std::lock_guard lock(mutex_);
  const auto* whole = find(p);
  if (whole == nullptr) return Fault::kNotOurs;
  const auto* byte = static_cast<const unsigned char*>(p);
  const bool in_flight = std::any_of(transfers_.begin(), transfers_.end(), [&](const Transfer& t) {
    return byte >= t.begin && byte < t.begin + t.bytes;
  });
  protect_pages(whole->first, whole->second, Protection::kReadWrite);
  return in_flight ? Fault::kInFlight : Fault::kHarmless;
}

}  // namespace komt::emulator
