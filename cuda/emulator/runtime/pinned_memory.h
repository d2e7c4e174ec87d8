// Page-locked host memory. While a copy from or to it is in flight, the host must leave it alone:
// its pages are protected until then, and a touch is reported (watchdog.cpp).
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <vector>

namespace komt::emulator {

class PinnedMemory {
 public:
  void* allocate(std::size_t bytes);
  bool free(void* p);
  bool contains(const void* p, std::size_t bytes = 1) const;

  // A copy that writes (or reads) the range has been enqueued, or has been carried out.
  void begin_transfer(const void* p, std::size_t bytes, bool written);
  void end_transfer(const void* p, std::size_t bytes, bool written);

  enum class Fault { kNotOurs, kHarmless, kInFlight };
  // The CPU was refused access at p. Opens the page, and says whether p itself is in flight.
  Fault on_fault(const void* p);

 private:
  struct Transfer {
    const unsigned char* begin;
    std::size_t bytes;
    bool written;
  };

  void protect(const Transfer& transfer);
  const std::pair<unsigned char* const, std::size_t>* find(const void* p) const;

  mutable std::recursive_mutex mutex_;
  std::map<unsigned char*, std::size_t> live_;  // whole pages
  std::vector<Transfer> transfers_;
};

}  // namespace komt::emulator
