// cp.async: between issue and wait the target holds NaN, and the source is read as late as the seed
// lets it.
#include <cstring>

#include "emulator/runtime/block.h"
#include "emulator/runtime/happens_before.h"
#include "emulator/runtime/report.h"
#include "emulator/runtime/virtual_memory.h"

namespace komt::emulator {

namespace {

constexpr int kInFlightByte = 0xff;

// Touches both ends, so that the address sanitizer sees a source outside its allocation.
void probe([[maybe_unused]] const unsigned char* source, [[maybe_unused]] int bytes) {
#if KOMT_EMULATOR_ASAN
  static_cast<void>(*static_cast<const volatile unsigned char*>(source));
  static_cast<void>(*static_cast<const volatile unsigned char*>(source + bytes - 1));
#endif
}

void carry_out(const PendingCopy& copy) {
  if (race_detection_enabled) {
    if (copy.source_bytes > 0) check_access(copy.source, copy.source_bytes, false, copy.where);
    end_async_write(copy.destination, copy.bytes, copy.where);
  }
  if (copy.source_bytes > 0) {
    probe(copy.source, copy.source_bytes);
    std::memcpy(copy.destination, copy.source, copy.source_bytes);
  }
  if (copy.source_bytes < copy.bytes) {
    std::memset(copy.destination + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
  }
}

bool is_valid(Block& block, const PendingCopy& copy) {
  const auto misaligned = [&](const void* p) {
    return reinterpret_cast<std::uintptr_t>(p) % copy.bytes != 0;
  };
  if (copy.source_bytes < 0 || copy.source_bytes > copy.bytes) {
    report(Check::kMisuse, copy.where, "cp.async of %d bytes: %d source bytes", copy.bytes,
           copy.source_bytes);
    return false;
  }
  if (misaligned(copy.destination) || misaligned(copy.source)) {
    report(Check::kMisuse, copy.where, "cp.async of %d bytes: an address isn't a multiple of that",
           copy.bytes);
    return false;
  }
  if (!block.shared().is_allocated(copy.destination, copy.bytes)) {
    report(Check::kOutOfBounds, copy.where,
           "cp.async of %d bytes to offset %zd, outside the block's shared memory", copy.bytes,
           static_cast<std::ptrdiff_t>(block.shared().offset(copy.destination)));
    return false;
  }
  return true;
}

}  // namespace

void cp_async_issue(void* shared_destination, const void* global_source, int bytes,
                    int source_bytes, SourceLocation where) {
  Block& block = *current_block;
  const PendingCopy copy{static_cast<unsigned char*>(shared_destination),
                         static_cast<const unsigned char*>(global_source), bytes, source_bytes,
                         where};
  if (!is_valid(block, copy)) return;
  if (race_detection_enabled) begin_async_write(copy.destination, bytes, where);
  // The race detector needs no luck, but a copy that lands at once would hide itself from it.
  if (!block.in_order() && !race_detection_enabled && block.random().one_in(2)) {
    carry_out(copy);
    return;
  }
  std::memset(copy.destination, kInFlightByte, bytes);
  current_fiber->copies.push_back(copy);
}

void cp_async_commit(SourceLocation) {
  Fiber& fiber = *current_fiber;
  fiber.copy_groups.push_back(fiber.copies.size());
}

void cp_async_wait(int groups, SourceLocation) {
  Fiber& fiber = *current_fiber;
  const std::size_t keep = static_cast<std::size_t>(groups);
  if (fiber.copy_groups.size() <= keep) return;
  const std::size_t done_groups = fiber.copy_groups.size() - keep;
  const std::size_t done = fiber.copy_groups[done_groups - 1];
  for (std::size_t i = 0; i < done; ++i) carry_out(fiber.copies[i]);
  fiber.copies.erase(fiber.copies.begin(),
                     fiber.copies.begin() + static_cast<std::ptrdiff_t>(done));
  fiber.copy_groups.erase(fiber.copy_groups.begin(),
                          fiber.copy_groups.begin() + static_cast<std::ptrdiff_t>(done_groups));
  for (std::size_t& end : fiber.copy_groups) end -= done;
}

}  // namespace komt::emulator
