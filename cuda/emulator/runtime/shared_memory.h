// The shared memory of one block: dynamic part first, then every static array behind a gap, so that
// an overrun lands where it is noticed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "emulator/device/execution.h"

namespace komt::emulator {

// Per-block limits of sm_90 (CUDA C++ Programming Guide), each of static and dynamic together: for
// kernels as they are, and for those that opted in to more. Static arrays alone never get more than
// the first.
inline constexpr std::size_t kDefaultBlockShared = 48 * 1024;
inline constexpr std::size_t kMaxBlockShared = 227 * 1024;

class SharedMemory {
 public:
  // Room for the gaps beside the memory proper.
  static constexpr std::size_t kCapacity = kMaxBlockShared + 256 * 1024;

  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  // A new block: everything NaN, no static arrays yet. `limit` is the kernel's, of both together.
  void reset(std::size_t dynamic_bytes, std::size_t limit);
  // Reports what was written into the gaps.
  void check_gaps();

  unsigned char* dynamic() { return base_; }
  unsigned char* place(SharedSite& site);

  bool contains(const void* p) const {
    return static_cast<std::size_t>(static_cast<const unsigned char*>(p) - base_) < kCapacity;
  }
  // Whether the range lies in one allocation.
  bool is_allocated(const void* p, std::size_t bytes) const;
  std::size_t offset(const void* p) const {
    return static_cast<std::size_t>(static_cast<const unsigned char*>(p) - base_);
  }
  std::size_t used() const { return used_; }

 private:
  struct Range {
    std::size_t begin;
    std::size_t end;
    const char* name;
  };

  void add(std::size_t begin, std::size_t bytes, const char* name);
  void require_room(const SharedSite& site);

  unsigned char* base_;
  std::size_t used_ = 0;  // end of the last gap
  std::size_t static_bytes_ = 0;
  std::size_t dynamic_bytes_ = 0;
  std::size_t limit_ = 0;
  std::uint64_t generation_ = 0;
  std::vector<Range> ranges_;
  std::vector<std::uint64_t> placed_in_;  // by site id: the generation it was last placed in
  std::vector<std::size_t> offsets_;      // by site id
};

}  // namespace komt::emulator
