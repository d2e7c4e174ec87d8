// What tests ask of the emulator: its schedule, its devices, what it found and what it ran.
//
// Nothing here exists on a device; production code doesn't include this header. All functions may
// be called from any host thread. Settings take effect at the next launch or allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "emulator/runtime_types.h"

namespace komt::emulator {

// What a report is about. test/emulator has one planted bug for each.
enum class Check {
  kDivergence,      // a barrier or collective that some of its threads never reach
  kCollective,      // wrong masks, a shuffle from a lane that takes no part
  kOutOfBounds,     // outside an allocation, shared or global
  kUninitialised,   // read before written (race build)
  kRace,            // unordered accesses within a block or across blocks (race build)
  kMissingWait,     // cp.async bytes touched, or a thread's end, before the wait that covers them
  kGridDependency,  // memory shared with the previous kernel before grid_dependency_wait()
  kHostAccess,      // the host touches device memory, or a buffer of a copy still in flight
  kNoProgress,      // a loop that waits for what never comes
  kMisuse,          // alignment, limits, arguments an instruction or API call doesn't allow
};

const char* check_name(Check check);

struct Report {
  Check check;
  std::string message;  // what, where, expected, found
  std::string kernel;   // empty outside kernels
};

// How the threads of a block and the operations of streams interleave; each run with the same seed
// and one worker takes the same course.
//   0     in order: thread by thread; asynchronous work as late as it may be
//   odd   random priorities among warps, changed at random moments (Burckhardt et al., PCT, 2010)
//   even  uniformly random
// Initially the environment's KOMT_EMULATOR_SEED, or 0.
void set_seed(std::uint64_t seed);
std::uint64_t seed();

// Reports since the last call, at most a few of one kind from one place. Taking them also takes
// back the cudaErrorAssert that a report leaves on its device.
std::vector<Report> take_reports();

struct LaunchRecord {
  std::string kernel;  // demangled, with template arguments where the symbol table has them
  dim3 grid;
  dim3 block;
  std::size_t dynamic_shared_bytes;
  std::uint64_t count;
};

// Every shape that every kernel ran with since the process began or clear_launch_log(). With
// KOMT_EMULATOR_LAUNCH_LOG=file it is appended to the file at exit, one tab-separated line each.
std::vector<LaunchRecord> launch_log();
void clear_launch_log();

// Calls of cudaFuncGetAttributes since the process began.
std::uint64_t kernel_attribute_queries();

// Devices that cudaGetDeviceCount reports, 1 to 8 (initially 1; KOMT_EMULATOR_DEVICES).
void set_device_count(int count);

// Bytes of global memory of a device (initially 4 GiB; KOMT_EMULATOR_MEMORY); allocations beyond
// fail with cudaErrorMemoryAllocation.
void set_memory_limit(int device, std::size_t bytes);

// Whether devices can reach each other's memory (initially yes).
void set_peer_access(bool possible);

// Initially 9.0. Below 9, programmatic dependent launch is refused as the hardware refuses it.
void set_compute_capability(int device, int major, int minor);

// Leaves a sticky error on the device, as a fault in a kernel does: every later call on it fails
// with it, until cudaDeviceReset() or poison_device(device, cudaSuccess).
void poison_device(int device, cudaError_t error);

// The `call`-th call of the runtime API from now on fails with `error` and does nothing, but waits where
// it would wait; 0: none does. Counted are the calls that can fail by themselves: all but those that give
// something back. Returns how many there were since the last injection.
std::uint64_t inject_fault(std::uint64_t call, cudaError_t error);

// OS threads that run blocks of one grid at the same time (initially the machine's, at most 8;
// KOMT_EMULATOR_THREADS). Always 1 in the race build.
void set_worker_threads(int count);

// A thread that runs this long without meeting the emulator is reported (initially 20 s of no
// progress in its block).
void set_watchdog_seconds(double seconds);

// Whether host accesses to device memory are caught (initially yes, where the system can protect
// pages; KOMT_EMULATOR_HOST_CHECK=0).
void set_host_access_check(bool enabled);

// Whether this build tracks happens-before (KOMT_EMULATOR_MODE=race).
bool race_detection();

}  // namespace komt::emulator
