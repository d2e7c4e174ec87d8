// Host twin of ptx/cp_async.cuh. A copy takes effect at some moment between its issue and the wait
// that covers it: at the last one in order, at either under the other schedules.
#pragma once

#include "emulator/device/execution.h"

namespace komt::ptx {

template <int kBytes>
inline void cp_async(void* shared_destination, const void* global_source,
                     emulator::SourceLocation where = emulator::SourceLocation::current()) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  emulator::cp_async_issue(shared_destination, global_source, kBytes, kBytes, where);
}

template <int kBytes>
inline void cp_async_zfill(void* shared_destination, const void* global_source, int source_bytes,
                           emulator::SourceLocation where = emulator::SourceLocation::current()) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  emulator::cp_async_issue(shared_destination, global_source, kBytes, source_bytes, where);
}

inline void cp_async_commit(emulator::SourceLocation where = emulator::SourceLocation::current()) {
  emulator::cp_async_commit(where);
}

template <int kGroups>
inline void cp_async_wait(emulator::SourceLocation where = emulator::SourceLocation::current()) {
  emulator::cp_async_wait(kGroups, where);
}

}  // namespace komt::ptx
