#include "emulator/race/shadow.h"

#include <algorithm>
#include <memory>
#include <unordered_map>

namespace komt::emulator {

namespace {

constexpr std::size_t kPageBytes = 4096;

struct ShadowPage {
  std::uint64_t written[kPageBytes / 64] = {};
  std::unique_ptr<ShadowCell[]> cells;
};

// The race build runs one block at a time, and the host meanwhile doesn't.
ShadowPage& page_of(std::uintptr_t address) {
  struct Recent {
    std::uintptr_t number = ~std::uintptr_t{0};
    ShadowPage* page = nullptr;
  };
  static auto* pages = new std::unordered_map<std::uintptr_t, std::unique_ptr<ShadowPage>>;
  static Recent recent[64];
  const std::uintptr_t number = address / kPageBytes;
  Recent& slot = recent[number % 64];
  if (slot.number != number) {
    auto& page = (*pages)[number];
    if (!page) page = std::make_unique<ShadowPage>();
    slot = {number, page.get()};
  }
  return *slot.page;
}

}  // namespace

ShadowCell& shadow_cell(const void* p) {
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  ShadowPage& page = page_of(address);
  if (!page.cells) page.cells = std::make_unique<ShadowCell[]>(kPageBytes / kCellBytes);
  return page.cells[address % kPageBytes / kCellBytes];
}

bool is_written(const void* p) {
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  return page_of(address).written[address % kPageBytes / 64] >> address % 64 & 1;
}

void set_written(const void* p, std::size_t bytes, bool written) {
  auto address = reinterpret_cast<std::uintptr_t>(p);
  const std::uintptr_t end = address + bytes;
  while (address < end) {
    std::uint64_t& word = page_of(address).written[address % kPageBytes / 64];
    const std::size_t count = std::min<std::size_t>(64 - address % 64, end - address);
    const std::uint64_t mask = (count == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1)
                               << address % 64;
    word = written ? word | mask : word & ~mask;
    address += count;
  }
}

void forget_accesses(const void* p, std::size_t bytes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(p);
  for (std::uintptr_t address = begin; address < begin + bytes;) {
    ShadowPage& page = page_of(address);
    const std::size_t count = std::min(kPageBytes - address % kPageBytes, begin + bytes - address);
    for (std::size_t i = 0; page.cells && i < count; i += kCellBytes) {
      page.cells[(address % kPageBytes + i) / kCellBytes] = ShadowCell{};
    }
    address += count;
  }
}

}  // namespace komt::emulator
