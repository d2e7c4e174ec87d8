// Switching between stacks: the emulator's threads are fibers.
#pragma once

#include <cstddef>

#if !defined(KOMT_EMULATOR_UCONTEXT) && \
    !((defined(__x86_64__) || defined(__aarch64__)) && defined(__ELF__))
#define KOMT_EMULATOR_UCONTEXT
#endif

#if defined(KOMT_EMULATOR_UCONTEXT)
#include <ucontext.h>
#endif

namespace komt::emulator {

// A suspended flow of control.
struct Context {
#if defined(KOMT_EMULATOR_UCONTEXT)
  ucontext_t context;
#else
  void* stack_pointer = nullptr;
#endif
};

// Makes `context` one that calls entry() on the given stack when first switched to; entry never
// returns.
void make_context(Context& context, unsigned char* stack, std::size_t bytes, void (*entry)());

// Suspends the caller into `from` and goes on where `to` was suspended.
#if defined(KOMT_EMULATOR_UCONTEXT)
inline void switch_context(Context& from, Context& to) { swapcontext(&from.context, &to.context); }
#else
extern "C" void komt_emulator_switch(void** save_stack_pointer, void* stack_pointer);
inline void switch_context(Context& from, Context& to) {
  komt_emulator_switch(&from.stack_pointer, to.stack_pointer);
}
#endif

}  // namespace komt::emulator
