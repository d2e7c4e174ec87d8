#include "emulator/race/access.h"

#include <set>
#include <string>
#include <tuple>

#include "emulator/race/clocks.h"
#include "emulator/race/shadow.h"
#include "emulator/runtime/device.h"
#include "emulator/runtime/happens_before.h"
#include "emulator/runtime/report.h"

namespace komt::emulator {

bool race_detection_enabled = false;
bool race_detection() { return race_detection_enabled; }

namespace {

enum class Space { kShared, kGlobal };

const char* space_name(Space space) { return space == Space::kShared ? "shared" : "global"; }

// One finding per pair of places is enough; the same pair comes back for every byte and lane.
bool is_first(Check check, Place a, Place b) {
  static auto* seen = new std::set<std::tuple<std::uint64_t, Check, Place, Place>>;
  return seen->insert({current_block->launch()->id, check, a, b}).second;
}

std::string describe(const AccessRecord& record, const char* verb) {
  const SourceLocation where = source_of(record.place);
  const BlockClocks& clocks = *current_block->clocks();
  std::string text = std::string(verb) + " by thread " + std::to_string(record.thread);
  if (record.block != clocks.block) text += " of block " + std::to_string(record.block);
  return text + " at " + where.file + ":" + std::to_string(where.line);
}

// Whether the recorded access happened before whatever the running thread does now.
bool is_ordered(const AccessRecord& record, bool me_atomic) {
  const KernelLaunch& launch = *current_block->launch();
  const BlockClocks& clocks = *current_block->clocks();
  const Fiber& fiber = *current_fiber;
  if (record.launch != static_cast<std::uint32_t>(launch.id))
    return true;  // overlaps() knows better
  if (record.is_atomic && me_atomic) return true;
  if (record.block == clocks.block) {
    return record.thread == fiber.linear || record.clock <= clocks.known(fiber, record.thread);
  }
  // Whoever has acquired what a block released through a variable may use the variable itself, too.
  if (record.is_atomic) return clocks.knows_anything_of(fiber, record.block);
  return clocks.knows_foreign(fiber, record.block, record.thread, record.clock);
}

// Whether the recorded access belongs to a kernel that may run at the same time by programmatic
// dependent launch, with no wait in between.
bool overlaps(const AccessRecord& record) {
  const KernelLaunch& launch = *current_block->launch();
  if (record.clock == 0 || record.launch == static_cast<std::uint32_t>(launch.id)) return false;
  if (launch.programmatic && launch.predecessor != 0 && !current_fiber->waited_for_grid &&
      record.launch == static_cast<std::uint32_t>(launch.predecessor)) {
    return true;
  }
  return record.before_grid_wait && record.launch > static_cast<std::uint32_t>(launch.id);
}

void judge_pair(const AccessRecord& record, const char* record_verb, const char* my_verb,
                bool me_atomic, Space space, Place place) {
  if (record.clock == 0) return;
  if (overlaps(record)) {
    if (is_first(Check::kGridDependency, record.place, place)) {
      report(Check::kGridDependency, source_of(place),
             "%s of %s memory that the kernel before or behind this one uses, too (%s), with no "
             "grid_dependency_wait() between them",
             my_verb, space_name(space), describe(record, record_verb).c_str());
    }
  } else if (!is_ordered(record, me_atomic) && is_first(Check::kRace, record.place, place)) {
    report(Check::kRace, source_of(place), "%s of %s memory races with a %s", my_verb,
           space_name(space), describe(record, record_verb).c_str());
  }
}

AccessRecord make_record(std::uint8_t bytes, bool is_atomic, Place place) {
  const KernelLaunch& launch = *current_block->launch();
  const BlockClocks& clocks = *current_block->clocks();
  AccessRecord record;
  record.clock = clocks.own(*current_fiber);
  record.launch = static_cast<std::uint32_t>(launch.id);
  record.block = clocks.block;
  record.thread = static_cast<std::uint16_t>(current_fiber->linear);
  record.bytes = bytes;
  record.is_atomic = is_atomic;
  record.before_grid_wait = launch.programmatic && !current_fiber->waited_for_grid;
  record.place = place;
  return record;
}

bool is_of_this_block(const AccessRecord& record) {
  return record.clock != 0 &&
         record.launch == static_cast<std::uint32_t>(current_block->launch()->id) &&
         record.block == current_block->clocks()->block;
}

void remember_read(ShadowCell& cell, const AccessRecord& record) {
  for (AccessRecord& slot : cell.reads) {
    const bool is_same = slot.thread == record.thread && slot.block == record.block;
    if (slot.clock == 0 || slot.launch != record.launch || is_same || is_ordered(slot, false)) {
      slot = record;
      return;
    }
  }
  cell.reads[1] = record;
}

void judge_cell(const unsigned char* p, std::uint8_t bytes, AccessKind kind, Space space,
                Place place) {
  ShadowCell& cell = shadow_cell(p);
  const bool is_atomic = kind == AccessKind::kAtomic;
  const char* verb = kind == AccessKind::kRead ? "read" : is_atomic ? "atomic access" : "write";
  // Shared memory is another one in each block.
  if (space == Space::kShared && ((cell.write.clock != 0 && !is_of_this_block(cell.write)) ||
                                  (cell.reads[0].clock != 0 && !is_of_this_block(cell.reads[0])))) {
    cell = ShadowCell{};
  }
  if (cell.in_flight && is_first(Check::kMissingWait, cell.write.place, place)) {
    report(Check::kMissingWait, source_of(place),
           "%s of shared memory that a cp.async is still filling (%s): no cp_async_wait() has "
           "covered it",
           verb, describe(cell.write, "issued").c_str());
  }
  if ((cell.write.bytes & bytes) != 0) {
    judge_pair(cell.write, cell.write.is_atomic ? "atomic access" : "write", verb, is_atomic, space,
               place);
  }
  if (cell.async_reads > 0 && kind != AccessKind::kRead && is_first(Check::kRace, place, place)) {
    report(Check::kRace, source_of(place),
           "%s of shared memory that a wgmma may still be reading: no wgmma_wait() has covered it", verb);
  }
  const AccessRecord record = make_record(bytes, is_atomic, place);
  if (kind == AccessKind::kRead) {
    remember_read(cell, record);
    return;
  }
  for (AccessRecord& read : cell.reads) {
    if ((read.bytes & bytes) != 0) judge_pair(read, "read", verb, is_atomic, space, place);
    read.clock = 0;
  }
  cell.write = record;
}

void judge_initialised(const unsigned char* p, std::size_t bytes, Space space, Place place) {
  for (std::size_t i = 0; i < bytes; ++i) {
    if (is_written(p + i)) continue;
    if (is_first(Check::kUninitialised, place, place)) {
      report(Check::kUninitialised, source_of(place),
             "read of %zu bytes of %s memory, of which byte %zu was never written", bytes,
             space_name(space), i);
    }
    return;
  }
}

// The allocation that was hit last will be hit again.
bool is_in_global_allocation(const unsigned char* p, std::size_t bytes, int owner) {
  static GlobalMemory::Allocation recent{nullptr, 0};
  static std::uint64_t recent_launch = 0;
  const std::uint64_t launch = current_block->launch()->id;
  if (recent_launch == launch && p >= recent.begin && p + bytes <= recent.begin + recent.bytes) {
    return true;
  }
  const auto found = device(owner).memory.find(p);
  if (!found || p + bytes > found->begin + found->bytes) return false;
  recent = *found;
  recent_launch = launch;
  return true;
}

void report_out_of_bounds(const unsigned char* p, std::size_t bytes, AccessKind kind, Space space,
                          Place place) {
  if (!is_first(Check::kOutOfBounds, place, place)) return;
  report(Check::kOutOfBounds, source_of(place),
         "%s of %zu bytes of %s memory at %p, outside any allocation",
         kind == AccessKind::kRead ? "read" : "write", bytes, space_name(space),
         static_cast<const void*>(p));
}

}  // namespace

void judge_access(const void* address, std::size_t bytes, AccessKind kind, Place place) {
  Block& block = *current_block;
  if (block.is_stack(address)) return;
  const auto* p = static_cast<const unsigned char*>(address);
  Space space = Space::kShared;
  if (block.shared().contains(p)) {
    if (!block.shared().is_allocated(p, bytes)) {
      report_out_of_bounds(p, bytes, kind, space, place);
      return;
    }
  } else {
    space = Space::kGlobal;
    const int owner = device_of(p);
    if (owner >= 0 && !is_in_global_allocation(p, bytes, owner)) {
      report_out_of_bounds(p, bytes, kind, space, place);
      return;
    }
    if (owner < 0 && !pinned_memory().contains(p)) return;
  }
  if (kind == AccessKind::kAtomic) synchronise_through(p, true, true);
  for (std::size_t i = 0; i < bytes;) {
    const std::size_t low = reinterpret_cast<std::uintptr_t>(p + i) % kCellBytes;
    const std::size_t count = bytes - i < kCellBytes - low ? bytes - i : kCellBytes - low;
    const auto mask = static_cast<std::uint8_t>(((1u << count) - 1) << low);
    judge_cell(p + i, mask, kind, space, place);
    i += count;
  }
  if (kind == AccessKind::kRead) {
    judge_initialised(p, bytes, space, place);
  } else {
    set_written(p, bytes, true);
  }
}

void check_access(const void* p, std::size_t bytes, bool write, SourceLocation where) {
  judge_access(p, bytes, write ? AccessKind::kWrite : AccessKind::kRead, place_of(where));
}

void begin_async_read(const void* p, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += kCellBytes) {
    ++shadow_cell(static_cast<const unsigned char*>(p) + i).async_reads;
  }
}

void end_async_read(const void* p, std::size_t bytes, SourceLocation where) {
  for (std::size_t i = 0; i < bytes; i += kCellBytes) {
    ShadowCell& cell = shadow_cell(static_cast<const unsigned char*>(p) + i);
    if (cell.async_reads > 0) --cell.async_reads;
  }
  check_access(p, bytes, false, where);
  const Place place = place_of(where);
  for (std::size_t i = 0; i < bytes; i += kCellBytes) {
    const AccessRecord& write = shadow_cell(static_cast<const unsigned char*>(p) + i).write;
    if (!is_of_this_block(write)) continue;
    if (write.clock <= current_block->clocks()->threads[write.thread].fenced_for_proxy) continue;
    if (!is_first(Check::kMissingWait, write.place, place)) continue;
    report(Check::kMissingWait, where,
           "wgmma reads shared memory of a %s, with no fence_proxy_async() by that thread behind it",
           describe(write, "write").c_str());
  }
}

void begin_async_write(const void* p, std::size_t bytes, SourceLocation where) {
  judge_access(p, bytes, AccessKind::kWrite, place_of(where));
  for (std::size_t i = 0; i < bytes; i += kCellBytes) {
    shadow_cell(static_cast<const unsigned char*>(p) + i).in_flight = true;
  }
}

void end_async_write(const void* p, std::size_t bytes, SourceLocation where) {
  for (std::size_t i = 0; i < bytes; i += kCellBytes) {
    shadow_cell(static_cast<const unsigned char*>(p) + i).in_flight = false;
  }
  judge_access(p, bytes, AccessKind::kWrite, place_of(where));
}

void mark_written(const void* p, std::size_t bytes) { set_written(p, bytes, true); }

void mark_copied(void* destination, const void* source, std::size_t bytes) {
  if (device_of(source) < 0) {
    set_written(destination, bytes, true);
    return;
  }
  for (std::size_t i = 0; i < bytes; ++i) {
    set_written(static_cast<unsigned char*>(destination) + i, 1,
                is_written(static_cast<const unsigned char*>(source) + i));
  }
}

void mark_fresh(const void* p, std::size_t bytes) { set_written(p, bytes, false); }

void mark_unwritten(const void* p, std::size_t bytes) {
  set_written(p, bytes, false);
  forget_accesses(p, bytes);
}

}  // namespace komt::emulator
