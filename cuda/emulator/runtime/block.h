// One block in execution: a fiber per thread, and the order in which they run.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "emulator/device/execution.h"
#include "emulator/runtime/context_switch.h"
#include "emulator/runtime/random.h"
#include "emulator/runtime/shared_memory.h"
#include "emulator/runtime_api.h"

namespace komt::emulator {

struct BlockClocks;

inline constexpr unsigned kWarpLanes = 32;
inline constexpr unsigned kMaxThreads = 1024;
inline constexpr unsigned kMaxWarps = kMaxThreads / kWarpLanes;
inline constexpr int kNamedBarriers = 16;

struct KernelLaunch {
  const void* kernel = nullptr;
  KernelEntry entry = nullptr;
  const unsigned char* arguments = nullptr;
  dim3 grid;
  dim3 block;
  std::size_t dynamic_shared_bytes = 0;
  std::size_t shared_limit = 0;  // of static and dynamic together
  int device = 0;
  bool programmatic = false;      // may start before its predecessor has ended
  std::uint64_t sequence = 0;     // since the seed was set
  std::uint64_t id = 0;           // since the process began, from 1
  std::uint64_t predecessor = 0;  // of a programmatic launch: the id of the kernel it may overlap
};

struct PendingCopy {
  unsigned char* destination;
  const unsigned char* source;
  int bytes;
  int source_bytes;
  SourceLocation where;
};

enum class FiberState : std::uint8_t { kReady, kWaiting, kExited };

struct Fiber {
  Context context;
  uint3 index{};
  unsigned linear = 0;
  unsigned lane = 0;
  unsigned warp = 0;
  FiberState state = FiberState::kExited;
  bool has_context = false;
  bool waited_for_grid = false;  // itself, or someone it has met at a barrier since
  const char* waits_at = "";
  SourceLocation where{};
  int reduction = 0;                     // what the last __syncthreads_count and kin gave
  std::vector<PendingCopy> copies;       // cp.async not yet carried out, oldest first
  std::vector<std::size_t> copy_groups;  // ends of the committed groups in `copies`
  void* sanitizer_stack = nullptr;
};

// Lanes that meet at one warp-wide operation.
struct Rendezvous {
  unsigned mask;
  unsigned arrived;
  const Collective* collective;
  SourceLocation where;
  void* arguments[kWarpLanes];
};

// A wgmma of one warp; d by lane.
struct PendingWgmma {
  float* d[kWarpLanes];
  std::uint64_t a;
  std::uint64_t b;
  bool add;
  int columns;
  bool bfloat16;
  bool done;
  SourceLocation where;
};

struct WgmmaQueue {
  std::vector<PendingWgmma> products;  // not yet waited for, oldest first
  std::vector<std::size_t> groups;     // ends of the committed groups in `products`
  std::vector<float> sums;             // what they have added up, [16, columns]
  bool fenced = false;
};

struct Warp {
  WgmmaQueue wgmma;
  unsigned live = 0;
  unsigned ready = 0;
  unsigned open = 0;  // rendezvous under way; disjoint masks may have one each
  Rendezvous rendezvous[4];
};

struct Barrier {
  int expected = 0;
  int arrived = 0;
  SourceLocation where{};
  const char* name = nullptr;
  unsigned trues = 0;  // of the predicates of a reducing barrier
  unsigned waiting[kMaxWarps] = {};
};

enum class BlockResult {
  kFinished,
  kParked,     // no thread can go on before the previous kernel has ended
  kAbandoned,  // its threads can never finish; reported
};

class Block {
 public:
  Block();
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  // Runs the block as far as it goes. With `ahead_of_predecessor`, threads that reach
  // grid_dependency_wait() stop there until resume().
  BlockResult run(const KernelLaunch& launch, uint3 index, bool ahead_of_predecessor);
  BlockResult resume();
  // Gives up a parked block.
  void discard() { reset_unfinished(); }

  // For the running fiber. suspend() returns once someone has made the fiber ready again.
  void suspend(const char* name, SourceLocation where);
  void yield();
  [[noreturn]] void abandon(cudaError_t error);
  void make_ready(unsigned warp, unsigned lanes);
  // Called in grid_dependency_wait() by each thread.
  void note_grid_wait() { waited_for_grid_ = true; }
  void spin(SourceLocation where);
  // An access was forbidden, yet the thread goes on. A block with many such is given up.
  void count_fault() { ++faults_; }

  const KernelLaunch* launch() const { return launch_; }
  uint3 index() const { return index_; }
  unsigned threads() const { return threads_; }
  Fiber& fiber(unsigned linear) { return fibers_[linear]; }
  Warp& warp(unsigned i) { return warps_[i]; }
  Barrier& barrier(int id) { return barriers_[id]; }
  SharedMemory& shared() { return shared_; }
  bool is_stack(const void* p) const;
  std::shared_ptr<BlockClocks>& clocks() { return clocks_; }
  bool in_order() const { return schedule_ == Schedule::kInOrder; }
  Random& random() { return random_; }
  bool ahead_of_predecessor() const { return ahead_; }
  cudaError_t error() const { return error_; }
  // Read by the watchdog's thread.
  std::uint64_t switches() const { return switches_.load(std::memory_order_relaxed); }

 private:
  enum class Schedule { kInOrder, kUniform, kPriorities };

  static void fiber_main();
  void prepare(const KernelLaunch& launch, uint3 index);
  void lay_out_threads(dim3 block);
  BlockResult go_on();
  void finish_thread(Fiber& fiber);
  void report_standstill();
  void reset_unfinished();
  std::string where_threads_are() const;

  Fiber* pick();
  Fiber* pick_after(const Fiber& fiber);
  Fiber* take(unsigned warp, unsigned lane);
  void draw_priorities();
  void switch_to(Fiber* from, Fiber* to);
  void become_current();

  const KernelLaunch* launch_ = nullptr;
  uint3 index_{};
  dim3 dim_{0, 0, 0};
  unsigned threads_ = 0;
  unsigned exited_ = 0;
  bool ahead_ = false;
  bool abandoned_ = false;
  bool waited_for_grid_ = false;
  unsigned faults_ = 0;
  cudaError_t error_ = cudaSuccess;

  std::unique_ptr<Fiber[]> fibers_;
  Warp warps_[kMaxWarps];
  Barrier barriers_[kNamedBarriers];
  SharedMemory shared_;
  std::shared_ptr<BlockClocks> clocks_;
  unsigned char* stacks_ = nullptr;
  unsigned guarded_stacks_ = 0;

  Context host_;
  void* host_sanitizer_stack_ = nullptr;

  Schedule schedule_ = Schedule::kInOrder;
  Random random_;
  unsigned ready_warps_ = 0;
  unsigned last_warp_ = 0;
  std::uint8_t by_priority_[kMaxWarps];  // warps, highest priority first
  int until_change_ = 0;
  std::atomic<std::uint64_t> switches_{0};
  std::uint64_t spins_ = 0;
  std::chrono::steady_clock::time_point spinning_since_;
};

// What this OS thread runs; null outside blocks.
extern constinit thread_local Block* current_block KOMT_EMULATOR_TLS;
extern constinit thread_local Fiber* current_fiber KOMT_EMULATOR_TLS;

}  // namespace komt::emulator
