#include "emulator/runtime/block.h"

#include <bit>
#include <cstring>
#include <map>
#include <new>
#include <utility>

#include "emulator/runtime/collectives.h"
#include "emulator/runtime/happens_before.h"
#include "emulator/runtime/report.h"
#include "emulator/runtime/sanitizer.h"
#include "emulator/runtime/settings.h"
#include "emulator/runtime/virtual_memory.h"
#include "emulator/runtime/watchdog.h"

#if KOMT_EMULATOR_ASAN
#include <pthread.h>
#include <sanitizer/common_interface_defs.h>
#endif

constinit thread_local uint3 threadIdx{};
constinit thread_local uint3 blockIdx{};
constinit thread_local dim3 blockDim{};
constinit thread_local dim3 gridDim{};

namespace komt::emulator {

constinit thread_local unsigned current_lane = 0;
constinit thread_local Block* current_block = nullptr;
constinit thread_local Fiber* current_fiber = nullptr;

namespace {

// The sanitizer's frames are several times larger.
constexpr std::size_t kStackBytes = KOMT_EMULATOR_ASAN ? 256 * 1024 : 64 * 1024;

// Every finding of the address sanitizer takes milliseconds to word.
constexpr unsigned kMostFaults = 32;

#if KOMT_EMULATOR_ASAN
struct HostStack {
  void* bottom = nullptr;
  std::size_t bytes = 0;

  HostStack() {
    pthread_attr_t attributes;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
    pthread_attr_getstack(&attributes, &bottom, &bytes);
    pthread_attr_destroy(&attributes);
  }
};
thread_local const HostStack host_stack;
#endif

}  // namespace

Block::Block() : fibers_(std::make_unique<Fiber[]>(kMaxThreads)) {
  stacks_ = reserve_pages(kStackBytes * kMaxThreads, Protection::kReadWrite);
  if (stacks_ == nullptr) throw std::bad_alloc();
  listen_to_sanitizers();
  for (unsigned i = 0; i < kMaxThreads; ++i) {
    fibers_[i].linear = i;
    fibers_[i].lane = i % kWarpLanes;
    fibers_[i].warp = i / kWarpLanes;
  }
}

Block::~Block() {
  allow_memory(stacks_, kStackBytes * kMaxThreads);
  release_pages(stacks_, kStackBytes * kMaxThreads);
}

bool Block::is_stack(const void* p) const {
  return static_cast<std::size_t>(static_cast<const unsigned char*>(p) - stacks_) <
         kStackBytes * kMaxThreads;
}

void Block::lay_out_threads(dim3 block) {
  dim_ = block;
  threads_ = block.x * block.y * block.z;
  for (unsigned i = 0; i < threads_; ++i) {
    fibers_[i].index = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
  }
  for (; guarded_stacks_ < threads_; ++guarded_stacks_) {
    protect_pages(stacks_ + guarded_stacks_ * kStackBytes, page_size(), Protection::kNone);
  }
}

void Block::prepare(const KernelLaunch& launch, uint3 index) {
  launch_ = &launch;
  index_ = index;
  exited_ = 0;
  abandoned_ = false;
  waited_for_grid_ = false;
  faults_ = 0;
  error_ = cudaSuccess;
  spins_ = 0;
  if (dim_.x != launch.block.x || dim_.y != launch.block.y || dim_.z != launch.block.z) {
    lay_out_threads(launch.block);
  }
  ready_warps_ = 0;
  last_warp_ = 0;
  for (unsigned w = 0; w * kWarpLanes < threads_; ++w) {
    const unsigned lanes = threads_ - w * kWarpLanes;
    warps_[w].live = lanes >= kWarpLanes ? ~0u : (1u << lanes) - 1;
    warps_[w].open = 0;
    warps_[w].ready = 0;
    warps_[w].wgmma.products.clear();
    warps_[w].wgmma.groups.clear();
    warps_[w].wgmma.fenced = false;
    make_ready(w, warps_[w].live);
  }
  for (unsigned i = 0; i < threads_; ++i) {
    fibers_[i].state = FiberState::kReady;
    fibers_[i].waited_for_grid = false;
  }
  for (Barrier& barrier : barriers_) {
    if (barrier.arrived != 0) barrier = Barrier{};
  }
  shared_.reset(launch.dynamic_shared_bytes, launch.shared_limit);
  const std::uint64_t seed = settings().seed;
  schedule_ = seed == 0       ? Schedule::kInOrder
              : seed % 2 == 1 ? Schedule::kPriorities
                              : Schedule::kUniform;
  if (schedule_ != Schedule::kInOrder) {
    random_.seed(seed, launch.sequence,
                 (static_cast<std::uint64_t>(index.z) << 16 ^ index.y) << 32 ^ index.x);
    draw_priorities();
  }
}

BlockResult Block::run(const KernelLaunch& launch, uint3 index, bool ahead_of_predecessor) {
  prepare(launch, index);
  ahead_ = ahead_of_predecessor;
  if (race_detection_enabled) begin_block_clocks(*this);
  return go_on();
}

BlockResult Block::resume() {
  ahead_ = false;
  for (unsigned i = 0; i < threads_; ++i) {
    Fiber& fiber = fibers_[i];
    if (fiber.state == FiberState::kWaiting && fiber.waits_at == kGridDependencyWait) {
      make_ready(fiber.warp, 1u << fiber.lane);
    }
  }
  return go_on();
}

BlockResult Block::go_on() {
  become_current();
  const Watched watched(*this);
  if (Fiber* first = pick()) switch_to(nullptr, first);
  BlockResult result = BlockResult::kFinished;
  if (abandoned_) {
    result = BlockResult::kAbandoned;
  } else if (exited_ != threads_) {
    bool parked = false;
    for (unsigned i = 0; ahead_ && i < threads_; ++i) {
      parked |=
          fibers_[i].state == FiberState::kWaiting && fibers_[i].waits_at == kGridDependencyWait;
    }
    if (parked) {
      result = BlockResult::kParked;
    } else {
      report_standstill();
      error_ = cudaErrorLaunchTimeout;
      result = BlockResult::kAbandoned;
    }
  }
  if (result == BlockResult::kAbandoned) reset_unfinished();
  if (result != BlockResult::kParked) shared_.check_gaps();
  if (result == BlockResult::kFinished && launch_->programmatic && !waited_for_grid_) {
    report(Check::kGridDependency, kNowhere,
           "a block of a kernel launched with programmatic dependence ends without "
           "grid_dependency_wait(): nothing orders its successor behind its predecessor");
  }
  current_fiber = nullptr;
  current_block = nullptr;
  return result;
}

void Block::become_current() {
  current_block = this;
  blockIdx = index_;
  blockDim = launch_->block;
  gridDim = launch_->grid;
}

void Block::reset_unfinished() {
  for (unsigned i = 0; i < threads_; ++i) {
    Fiber& fiber = fibers_[i];
    fiber.copies.clear();
    fiber.copy_groups.clear();
    if (fiber.state == FiberState::kExited) continue;
    fiber.state = FiberState::kExited;
    fiber.has_context = false;
    allow_memory(stacks_ + i * kStackBytes, kStackBytes);
  }
  for (Barrier& barrier : barriers_) barrier = Barrier{};
}

// ------------------------------------------------------------------------------------- threads

void Block::fiber_main() {
#if KOMT_EMULATOR_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
  // A fiber outlives its thread: the next block's thread goes on from here.
  for (;;) {
    const KernelLaunch& launch = *current_block->launch_;
    launch.entry(launch.kernel, launch.arguments);
    Block& self = *current_block;
    Fiber& fiber = *current_fiber;
    self.finish_thread(fiber);
    self.switch_to(&fiber, self.pick());
  }
}

void Block::finish_thread(Fiber& fiber) {
  if (!fiber.copies.empty()) {
    report(Check::kMissingWait, fiber.copies.back().where,
           "a thread ends with %zu cp.async copies it never waited for", fiber.copies.size());
    fiber.copies.clear();
  }
  fiber.copy_groups.clear();
  WgmmaQueue& wgmma = warps_[fiber.warp].wgmma;
  if (!wgmma.products.empty()) {
    report(Check::kMissingWait, wgmma.products.back().where,
           "a warp ends with %zu wgmma products it never waited for", wgmma.products.size());
    wgmma.products.clear();
  }
  wgmma.groups.clear();
  fiber.state = FiberState::kExited;
  ++exited_;
  spins_ = 0;
  warps_[fiber.warp].live &= ~(1u << fiber.lane);
  complete_without(*this, fiber);
}

void Block::suspend(const char* name, SourceLocation where) {
  Fiber& fiber = *current_fiber;
  fiber.state = FiberState::kWaiting;
  fiber.waits_at = name;
  fiber.where = where;
  spins_ = 0;
  switch_to(&fiber, pick());
}

void Block::yield() {
  Fiber& fiber = *current_fiber;
  make_ready(fiber.warp, 1u << fiber.lane);
  Fiber* next = in_order() ? pick_after(fiber) : pick();
  if (next != &fiber) switch_to(&fiber, next);
}

void Block::spin(SourceLocation where) {
  using Clock = std::chrono::steady_clock;
  constexpr std::uint64_t kPatience = 64;  // in order, a loop this long may wait for someone
  constexpr std::uint64_t kClockEvery = 1 << 14;
  ++spins_;
  // Here, where every count comes by: after a yield others may have counted on.
  if (spins_ == kClockEvery) spinning_since_ = Clock::now();
  if (in_order() ? spins_ % kPatience == 0 : random_.one_in(4)) {
    const std::uint64_t spins = spins_;
    yield();
    if (spins_ != 0) spins_ = spins > spins_ ? spins : spins_;
  }
  // 0: others got ahead meanwhile
  if (spins_ <= kClockEvery || spins_ % kClockEvery != 0) return;
  if (std::chrono::duration<double>(Clock::now() - spinning_since_).count() >
      settings().watchdog_seconds) {
    report(Check::kNoProgress, where, "no thread of the block gets ahead:%s",
           where_threads_are().c_str());
    abandon(cudaErrorLaunchTimeout);
  }
}

void Block::abandon(cudaError_t error) {
  abandoned_ = true;
  error_ = error;
  switch_to(current_fiber, nullptr);
  __builtin_unreachable();
}

void Block::make_ready(unsigned warp, unsigned lanes) {
  warps_[warp].ready |= lanes;
  ready_warps_ |= 1u << warp;
}

// ------------------------------------------------------------------------------------ schedule

Fiber* Block::take(unsigned warp, unsigned lane) {
  Warp& w = warps_[warp];
  w.ready &= ~(1u << lane);
  if (w.ready == 0) ready_warps_ &= ~(1u << warp);
  last_warp_ = warp;
  Fiber& fiber = fibers_[warp * kWarpLanes + lane];
  fiber.state = FiberState::kReady;
  return &fiber;
}

Fiber* Block::pick() {
  if (faults_ > kMostFaults) {
    abandoned_ = true;
    error_ = cudaErrorIllegalAddress;
    return nullptr;
  }
  if (ready_warps_ == 0) return nullptr;
  unsigned warp = last_warp_;
  if (schedule_ == Schedule::kInOrder) {
    if ((ready_warps_ >> warp & 1) == 0) {
      const unsigned above = ready_warps_ & ~((2u << warp) - 1);
      warp = std::countr_zero(above != 0 ? above : ready_warps_);
    }
    return take(warp, std::countr_zero(warps_[warp].ready));
  }
  if (schedule_ == Schedule::kUniform) {
    const unsigned start = random_.below(kMaxWarps);
    warp = (start + std::countr_zero(std::rotr(ready_warps_, static_cast<int>(start)))) % kMaxWarps;
  } else {
    if (--until_change_ < 0) draw_priorities();
    unsigned i = 0;
    while ((ready_warps_ >> by_priority_[i] & 1) == 0) ++i;
    warp = by_priority_[i];
  }
  const unsigned start = random_.below(kWarpLanes);
  const unsigned ready = std::rotr(warps_[warp].ready, static_cast<int>(start));
  return take(warp, (start + std::countr_zero(ready)) % kWarpLanes);
}

// The next ready thread in cyclic order, so that threads which spin give way to all others.
Fiber* Block::pick_after(const Fiber& fiber) {
  const unsigned above = warps_[fiber.warp].ready & ~((2u << fiber.lane) - 1);
  if (above != 0) return take(fiber.warp, std::countr_zero(above));
  const unsigned warps = ready_warps_ & ~((2u << fiber.warp) - 1);
  const unsigned warp = std::countr_zero(warps != 0 ? warps : ready_warps_);
  return take(warp, std::countr_zero(warps_[warp].ready));
}

void Block::draw_priorities() {
  constexpr std::uint32_t kShortest = 256;
  constexpr std::uint32_t kSpread = 4096;
  for (unsigned i = 0; i < kMaxWarps; ++i) by_priority_[i] = static_cast<std::uint8_t>(i);
  for (unsigned i = kMaxWarps - 1; i > 0; --i) {
    std::swap(by_priority_[i], by_priority_[random_.below(i + 1)]);
  }
  until_change_ = static_cast<int>(kShortest + random_.below(kSpread));
}

void Block::switch_to(Fiber* from, Fiber* to) {
  if (from == to) return;
  switches_.store(switches() + 1, std::memory_order_relaxed);
  current_fiber = to;
  if (to != nullptr) {
    threadIdx = to->index;
    current_lane = to->lane;
    if (!to->has_context) {
      // Stacks that start at different offsets don't fight for the same cache sets.
      const std::size_t colour = to->linear % 16 * 128;
      make_context(to->context, stacks_ + to->linear * kStackBytes, kStackBytes - colour,
                   fiber_main);
      to->has_context = true;
    }
  }
#if KOMT_EMULATOR_ASAN
  __sanitizer_start_switch_fiber(
      from != nullptr ? &from->sanitizer_stack : &host_sanitizer_stack_,
      to != nullptr ? stacks_ + to->linear * kStackBytes : host_stack.bottom,
      to != nullptr ? kStackBytes : host_stack.bytes);
#endif
  switch_context(from != nullptr ? from->context : host_, to != nullptr ? to->context : host_);
#if KOMT_EMULATOR_ASAN
  __sanitizer_finish_switch_fiber(from != nullptr ? from->sanitizer_stack : host_sanitizer_stack_,
                                  nullptr, nullptr);
#endif
}

// ------------------------------------------------------------------------------------- reports

std::string Block::where_threads_are() const {
  std::map<std::string, unsigned> places;
  for (unsigned i = 0; i < threads_; ++i) {
    const Fiber& fiber = fibers_[i];
    std::string place = "exited";
    if (fiber.state == FiberState::kWaiting) {
      place = std::string("in ") + fiber.waits_at + " at " + fiber.where.file + ":" +
              std::to_string(fiber.where.line);
    } else if (fiber.state == FiberState::kReady) {
      place = "running";
    }
    ++places[place];
  }
  std::string text;
  for (const auto& [place, count] : places) {
    text += (text.empty() ? " " : ", ") + std::to_string(count) +
            (count == 1 ? " thread " : " threads ") + place;
  }
  return text;
}

void Block::report_standstill() {
  report(Check::kDivergence, kNowhere, "no thread of the block can go on:%s",
         where_threads_are().c_str());
}

}  // namespace komt::emulator
