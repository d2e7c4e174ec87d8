// What the device headers know of the machine that runs them: the current thread and the calls by
// which it meets others. cuda/emulator/runtime/ implements them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "emulator/device/qualifiers.h"
#include "emulator/device/vector_types.h"

#if defined(__GNUC__) && defined(__ELF__)
// Read at every threadIdx, in a shared object too; a handful of bytes fits the static TLS reserve.
#define KOMT_EMULATOR_TLS __attribute__((tls_model("initial-exec")))
#else
#define KOMT_EMULATOR_TLS
#endif

// The built-in variables of the CUDA thread that this OS thread is running.
extern constinit thread_local uint3 threadIdx KOMT_EMULATOR_TLS;
extern constinit thread_local uint3 blockIdx KOMT_EMULATOR_TLS;
extern constinit thread_local dim3 blockDim KOMT_EMULATOR_TLS;
extern constinit thread_local dim3 gridDim KOMT_EMULATOR_TLS;
inline constexpr int warpSize = 32;

namespace komt::emulator {

// Where in a kernel something happens. As a default argument, current() is the caller's place.
struct SourceLocation {
  const char* file;
  int line;

  static constexpr SourceLocation current(const char* file = __builtin_FILE(),
                                          int line = __builtin_LINE()) {
    return {file, line};
  }
};

// The lane of the CUDA thread that this OS thread is running.
extern constinit thread_local unsigned current_lane KOMT_EMULATOR_TLS;

// Static shared memory: one object per declaration, the same storage for all threads of a block.
struct SharedSite {
  std::size_t bytes;
  const char* name;
  int id = -1;  // given at first use
};
void* static_shared(SharedSite& site);
void* dynamic_shared();

// Runs when the last of the lanes in `mask` has arrived at the same place, with every lane's
// argument; lanes that aren't in the mask have null.
using CollectiveFunction = void (*)(void* const* arguments, unsigned mask);

struct Collective {
  const char* name;
  CollectiveFunction function;
  // Whether memory accesses before it are ordered before those behind it: __syncwarp alone is so.
  bool orders_memory = false;
  // .aligned instructions have no mask and want all 32 lanes alive.
  bool whole_warp = false;
};

void warp_collective(unsigned mask, const Collective& collective, void* argument,
                     SourceLocation where);

// `threads` is the number of threads the barrier waits for, those that only arrive included.
void barrier_sync(int id, int threads, const char* name, SourceLocation where);
void barrier_arrive(int id, int threads, const char* name, SourceLocation where);
void block_barrier(SourceLocation where);  // __syncthreads()

enum class BarrierReduction { kCount, kAnd, kOr };
int block_barrier_reduce(BarrierReduction reduction, bool predicate, const char* name,
                         SourceLocation where);

enum class FenceScope { kBlock, kDevice, kSystem };
void fence(FenceScope scope);

// Another thread may run here: called before each atomic, so that a loop around one makes progress
// and random schedules interleave them.
void scheduling_point();

unsigned active_lanes();
[[noreturn]] void trap(SourceLocation where);
void report_misuse(const char* what, SourceLocation where);

void cp_async_issue(void* shared_destination, const void* global_source, int bytes,
                    int source_bytes, SourceLocation where);
void cp_async_commit(SourceLocation where);
void cp_async_wait(int groups, SourceLocation where);

void grid_dependency_wait(SourceLocation where);
void grid_dependency_launch();

}  // namespace komt::emulator
