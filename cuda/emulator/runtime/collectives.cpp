#include "emulator/runtime/collectives.h"

#include <cstring>
#include <iterator>

#include "emulator/device/execution.h"
#include "emulator/runtime/block.h"
#include "emulator/runtime/happens_before.h"
#include "emulator/runtime/report.h"

namespace komt::emulator {

const char* const kGridDependencyWait = "grid_dependency_wait";

namespace {

bool same_place(SourceLocation a, SourceLocation b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

// Under hostile schedules nobody may count on going first after a meeting.
void give_way(Block& block) {
  if (!block.in_order()) block.yield();
}

// `going_on` are lanes that don't wait, because they complete the meeting themselves.
void complete(Block& block, unsigned warp_index, unsigned slot, unsigned going_on) {
  Warp& warp = block.warp(warp_index);
  Rendezvous& meeting = warp.rendezvous[slot];
  if (meeting.collective->whole_warp && meeting.arrived != ~0u) {
    report(Check::kCollective, meeting.where, "%s needs all 32 lanes of the warp; alive are %08x",
           meeting.collective->name, warp.live);
  } else {
    meeting.collective->function(meeting.arguments, meeting.arrived);
  }
  if (race_detection_enabled && meeting.collective->orders_memory) {
    order_lanes(block, warp_index, meeting.arrived);
  }
  if ((meeting.arrived & ~going_on) != 0) {
    block.make_ready(warp_index, meeting.arrived & ~going_on);
  }
  if (slot != --warp.open) meeting = warp.rendezvous[warp.open];
}

// The meeting that the running thread joins or opens.
Rendezvous* find_meeting(Warp& warp, unsigned mask, const Collective& collective,
                         SourceLocation where) {
  for (unsigned i = 0; i < warp.open; ++i) {
    Rendezvous& meeting = warp.rendezvous[i];
    if (meeting.mask == mask && meeting.collective == &collective &&
        same_place(meeting.where, where)) {
      return &meeting;
    }
    if ((meeting.mask & mask) != 0) {
      report(
          Check::kDivergence, where,
          "lanes of one warp meet at different places: %s with mask %08x here, %s with mask %08x "
          "at %s:%d",
          collective.name, mask, meeting.collective->name, meeting.mask, meeting.where.file,
          meeting.where.line);
    }
  }
  if (warp.open == std::size(warp.rendezvous)) return nullptr;
  Rendezvous& meeting = warp.rendezvous[warp.open++];
  meeting.mask = mask;
  meeting.arrived = 0;
  meeting.collective = &collective;
  meeting.where = where;
  return &meeting;
}

void release_barrier(Block& block, int id) {
  Barrier& barrier = block.barrier(id);
  const unsigned warps = (block.threads() + kWarpLanes - 1) / kWarpLanes;
  for (unsigned w = 0; w < warps; ++w) {
    if (barrier.waiting[w] == 0) continue;
    block.make_ready(w, barrier.waiting[w]);
    barrier.waiting[w] = 0;
  }
  barrier.arrived = 0;
  barrier.trues = 0;
}

void join_barrier(Block& block, int id, int threads, const char* name, SourceLocation where) {
  Barrier& barrier = block.barrier(id);
  if (barrier.arrived == 0) {
    barrier.expected = threads;
    barrier.where = where;
    barrier.name = name;
  } else if (barrier.expected != threads) {
    report(Check::kDivergence, where, "barrier %d wants %d threads here and %d at %s:%d", id,
           threads, barrier.expected, barrier.where.file, barrier.where.line);
  } else if (id == 0 && !same_place(barrier.where, where)) {
    report(Check::kDivergence, where,
           "threads of one block wait at different barriers: %s here, %s at %s:%d", name,
           barrier.name, barrier.where.file, barrier.where.line);
  }
  ++barrier.arrived;
}

// Barrier 0 by every thread of the block; the one that arrives last lets all go on.
void meet_block(const char* name, SourceLocation where, void (*conclude)(Block&, Barrier&, int),
                int argument) {
  Block& block = *current_block;
  Fiber& fiber = *current_fiber;
  Barrier& barrier = block.barrier(0);
  join_barrier(block, 0, static_cast<int>(block.threads()), name, where);
  if (barrier.arrived < static_cast<int>(block.threads())) {
    barrier.waiting[fiber.warp] |= 1u << fiber.lane;
    block.suspend(name, where);
    return;
  }
  if (race_detection_enabled) order_block(block);
  if (conclude != nullptr) conclude(block, barrier, argument);
  release_barrier(block, 0);
  give_way(block);
}

bool valid_barrier(int id, int threads, const char* name, SourceLocation where) {
  if (id >= 0 && id < kNamedBarriers && threads > 0 &&
      threads % static_cast<int>(kWarpLanes) == 0 &&
      threads <=
          static_cast<int>((current_block->threads() + kWarpLanes - 1) / kWarpLanes * kWarpLanes)) {
    return true;
  }
  report(Check::kMisuse, where,
         "%s %d with %d threads: barriers are 0 to 15, threads a multiple of 32 within the block",
         name, id, threads);
  return false;
}

}  // namespace

void warp_collective(unsigned mask, const Collective& collective, void* argument,
                     SourceLocation where) {
  Block& block = *current_block;
  Fiber& fiber = *current_fiber;
  Warp& warp = block.warp(fiber.warp);
  const unsigned bit = 1u << fiber.lane;
  if ((mask & bit) == 0) {
    report(Check::kCollective, where, "%s: the calling lane %u isn't in its own mask %08x",
           collective.name, fiber.lane, mask);
    mask |= bit;
  }
  Rendezvous* meeting = warp.open == 0 ? nullptr : &warp.rendezvous[0];
  if (meeting == nullptr || meeting->mask != mask || meeting->collective != &collective ||
      meeting->where.line != where.line || meeting->where.file != where.file) {
    meeting = find_meeting(warp, mask, collective, where);
    if (meeting == nullptr) {
      block.suspend(collective.name, where);
      return;
    }
  }
  meeting->arguments[fiber.lane] = argument;
  meeting->arrived |= bit;
  if (meeting->arrived != (mask & warp.live)) {
    block.suspend(collective.name, where);
    return;
  }
  complete(block, fiber.warp, static_cast<unsigned>(meeting - warp.rendezvous), bit);
  give_way(block);
}

void complete_without(Block& block, const Fiber& fiber) {
  Warp& warp = block.warp(fiber.warp);
  for (unsigned i = 0; i < warp.open;) {
    const Rendezvous& meeting = warp.rendezvous[i];
    if (meeting.arrived != 0 && meeting.arrived == (meeting.mask & warp.live)) {
      complete(block, fiber.warp, i, 0);
    } else {
      ++i;
    }
  }
}

void block_barrier(SourceLocation where) { meet_block("__syncthreads", where, nullptr, 0); }

int block_barrier_reduce(BarrierReduction reduction, bool predicate, const char* name,
                         SourceLocation where) {
  current_block->barrier(0).trues += predicate ? 1 : 0;
  meet_block(
      name, where,
      [](Block& block, Barrier& barrier, int kind) {
        int result = static_cast<int>(barrier.trues);
        if (kind == static_cast<int>(BarrierReduction::kAnd)) {
          result = barrier.trues == block.threads();
        } else if (kind == static_cast<int>(BarrierReduction::kOr)) {
          result = barrier.trues != 0;
        }
        for (unsigned i = 0; i < block.threads(); ++i) block.fiber(i).reduction = result;
      },
      static_cast<int>(reduction));
  return current_fiber->reduction;
}

void barrier_sync(int id, int threads, const char* name, SourceLocation where) {
  if (!valid_barrier(id, threads, name, where)) return;
  Block& block = *current_block;
  Fiber& fiber = *current_fiber;
  Barrier& barrier = block.barrier(id);
  join_barrier(block, id, threads, name, where);
  if (race_detection_enabled) release_to_barrier(block, id, fiber);
  barrier.waiting[fiber.warp] |= 1u << fiber.lane;
  if (barrier.arrived < barrier.expected) {
    block.suspend(name, where);
    return;
  }
  if (race_detection_enabled) acquire_from_barrier(block, id);
  barrier.waiting[fiber.warp] &= ~(1u << fiber.lane);
  release_barrier(block, id);
  give_way(block);
}

void barrier_arrive(int id, int threads, const char* name, SourceLocation where) {
  if (!valid_barrier(id, threads, name, where)) return;
  Block& block = *current_block;
  Barrier& barrier = block.barrier(id);
  join_barrier(block, id, threads, name, where);
  if (race_detection_enabled) release_to_barrier(block, id, *current_fiber);
  if (barrier.arrived < barrier.expected) return;
  if (race_detection_enabled) acquire_from_barrier(block, id);
  release_barrier(block, id);
  give_way(block);
}

void fence(FenceScope scope) {
  if (scope != FenceScope::kBlock) __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (race_detection_enabled) order_fence(*current_block, *current_fiber, scope);
}

void scheduling_point() { current_block->spin(kNowhere); }

unsigned active_lanes() { return current_block->warp(current_fiber->warp).live; }

void trap(SourceLocation where) {
  report(Check::kMisuse, where, "the kernel executed __trap()");
  current_block->abandon(cudaErrorLaunchFailure);
}

void report_misuse(const char* what, SourceLocation where) {
  report(Check::kMisuse, where, "%s", what);
}

void grid_dependency_wait(SourceLocation where) {
  Block& block = *current_block;
  block.note_grid_wait();
  if (block.ahead_of_predecessor()) block.suspend(kGridDependencyWait, where);
  current_fiber->waited_for_grid = true;
}

// A dependent kernel's threads that run ahead are started before this kernel, which is as early as
// the hint allows; there is nothing left to bring forward.
void grid_dependency_launch() {}

}  // namespace komt::emulator
