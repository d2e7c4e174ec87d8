// The global memory of one device: its own stretch of addresses, so that a pointer tells its device
// and the host can be kept out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>

namespace komt::emulator {

class GlobalMemory {
 public:
  // Address space per device; the limit that cudaMemGetInfo tells is below it.
  static constexpr std::size_t kReserved = std::size_t{1} << 36;

  struct Allocation {
    unsigned char* begin;
    std::size_t bytes;
  };

  GlobalMemory() = default;
  ~GlobalMemory();
  GlobalMemory(const GlobalMemory&) = delete;
  GlobalMemory& operator=(const GlobalMemory&) = delete;

  // 256-byte aligned, filled with NaN; null when the limit or the address space is exceeded.
  void* allocate(std::size_t bytes, std::size_t limit);
  // False if `p` isn't the beginning of an allocation.
  bool free(void* p);
  // The allocation that the byte at p belongs to.
  std::optional<Allocation> find(const void* p) const;
  bool contains(const void* p) const;
  std::size_t used() const;
  void free_all();

  // Reports every byte written behind an allocation (the address sanitizer does so by itself).
  void check_gaps() const;

  // Lets the CPU touch the memory or not. Calls don't nest.
  void open();
  void close();

 private:
  struct Block {
    std::size_t bytes;     // asked for
    std::size_t reserved;  // with the gap behind it
  };

  void fill(std::size_t begin, std::size_t bytes);
  void check_gap(std::size_t begin, const Block& block) const;

  mutable std::mutex mutex_;
  unsigned char* base_ = nullptr;
  std::size_t top_ = 0;  // what has ever been handed out ends here
  std::size_t used_ = 0;
  bool is_open_ = false;
  std::map<std::size_t, Block> live_;        // by offset
  std::map<std::size_t, std::size_t> free_;  // offset -> bytes, merged with neighbours
};

}  // namespace komt::emulator
