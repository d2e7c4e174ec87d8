#include "emulator/runtime/watchdog.h"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "emulator/runtime/block.h"
#include "emulator/runtime/device.h"
#include "emulator/runtime/memory_window.h"
#include "emulator/runtime/report.h"
#include "emulator/runtime/settings.h"
#include "emulator/runtime/symbols.h"

namespace komt::emulator {

namespace {

// Its default action is to be ignored, and runtimes that host addons leave it alone.
constexpr int kWakeSignal = SIGURG;
constexpr std::size_t kAlternateStack = 128 * 1024;

// One per OS thread that runs blocks.
struct Watch {
  pthread_t thread = pthread_self();
  std::atomic<Block*> block{nullptr};
  std::atomic<bool> overdue{false};
  // Seen by the watchdog alone.
  std::uint64_t last_switches = 0;
  std::chrono::duration<double> standing_still{};
  std::unique_ptr<unsigned char[]> alternate_stack;
};

struct Watches {
  std::mutex mutex;
  std::vector<Watch*> all;
};

Watches& watches() {
  static auto* watches = new Watches;
  return *watches;
}

// Counts its own rounds, not the clock: a machine that was suspended has wasted nobody's time.
void stand_watch() {
  constexpr std::chrono::milliseconds kRound(100);
  for (;;) {
    std::this_thread::sleep_for(kRound);
    const double limit = settings().watchdog_seconds;
    const std::lock_guard lock(watches().mutex);
    for (Watch* watch : watches().all) {
      const Block* block = watch->block;
      const std::uint64_t switches = block != nullptr ? block->switches() : 0;
      if (block == nullptr || switches != watch->last_switches) {
        watch->last_switches = switches;
        watch->standing_still = {};
        continue;
      }
      watch->standing_still += kRound;
      if (watch->standing_still.count() <= limit) continue;
      watch->standing_still = {};
      watch->overdue = true;
      pthread_kill(watch->thread, kWakeSignal);
    }
  }
}

struct WatchOwner {
  Watch watch;

  WatchOwner() {
    stack_t stack{};
    // A fiber that overflows its stack has none left for the handler.
    if (sigaltstack(nullptr, &stack) == 0 && (stack.ss_flags & SS_DISABLE) != 0) {
      watch.alternate_stack = std::make_unique<unsigned char[]>(kAlternateStack);
      stack = {};
      stack.ss_sp = watch.alternate_stack.get();
      stack.ss_size = kAlternateStack;
      sigaltstack(&stack, nullptr);
    }
    const std::lock_guard lock(watches().mutex);
    watches().all.push_back(&watch);
  }
  ~WatchOwner() {
    if (watch.alternate_stack != nullptr) {
      stack_t stack{};
      stack.ss_flags = SS_DISABLE;
      sigaltstack(&stack, nullptr);
    }
    const std::lock_guard lock(watches().mutex);
    std::erase(watches().all, &watch);
  }
};

Watch& my_watch() {
  static thread_local WatchOwner owner;
  return owner.watch;
}

const void* program_counter([[maybe_unused]] void* context) {
#if defined(__linux__) && defined(__x86_64__)
  return reinterpret_cast<const void*>(
      static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] + 1);
#elif defined(__linux__) && defined(__aarch64__)
  return reinterpret_cast<const void*>(static_cast<ucontext_t*>(context)->uc_mcontext.pc + 1);
#else
  return nullptr;
#endif
}

void on_wake(int, siginfo_t*, void* context) {
  if (current_fiber == nullptr || !my_watch().overdue.exchange(false)) return;
  report(Check::kNoProgress, kNowhere,
         "a thread has been running for %.1f s without end, now at %s",
         settings().watchdog_seconds.load(), source_line(program_counter(context)).c_str());
  current_block->abandon(cudaErrorLaunchTimeout);
}

struct sigaction previous_segv;
struct sigaction previous_bus;

void on_fault(int signal, siginfo_t* info, void* context) {
  const void* address = info->si_addr;
  const int owner = device_of(address);
  if (current_fiber != nullptr) {
    const char* hint = "";
    if (owner >= 0 && owner != current_block->launch()->device) {
      hint = ", another device's memory without peer access";
    } else if (owner >= 0) {
      hint = ", device memory that isn't allocated";
    }
    report(Check::kOutOfBounds, kNowhere, "illegal address %p%s, at %s", address, hint,
           source_line(program_counter(context)).c_str());
    current_block->abandon(cudaErrorIllegalAddress);
  }
  if (owner >= 0) {
    report(Check::kHostAccess, kNowhere,
           "the host touches memory of device %d at %p: copy it first, at %s", owner, address,
           source_line(program_counter(context)).c_str());
    open_memory_for_offender(owner);
    return;
  }
  switch (pinned_memory().on_fault(address)) {
    case PinnedMemory::Fault::kHarmless: return;
    case PinnedMemory::Fault::kInFlight:
      report(
          Check::kHostAccess, kNowhere,
          "the host touches pinned memory at %p while a copy of it is in flight: synchronise the "
          "stream first, at %s",
          address, source_line(program_counter(context)).c_str());
      return;
    case PinnedMemory::Fault::kNotOurs: break;
  }
  // Not the emulator's: a handler that was here before may know it (a JavaScript engine's does).
  const struct sigaction& previous = signal == SIGBUS ? previous_bus : previous_segv;
  if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
    previous.sa_sigaction(signal, info, context);
  } else {
    sigaction(signal, &previous, nullptr);  // the instruction faults once more
  }
}

}  // namespace

Watched::Watched(Block& block) {
  catch_faults();
  static const bool watching = [] {
    struct sigaction action {};
    action.sa_sigaction = on_wake;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTART;
    sigaction(kWakeSignal, &action, nullptr);
    std::thread(stand_watch).detach();
    return true;
  }();
  static_cast<void>(watching);
  my_watch().block = &block;
}

Watched::~Watched() { my_watch().block = nullptr; }

void catch_faults() {
  static const bool caught = [] {
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &previous_segv);
    sigaction(SIGBUS, &action, &previous_bus);
    return true;
  }();
  static_cast<void>(caught);
}

}  // namespace komt::emulator
