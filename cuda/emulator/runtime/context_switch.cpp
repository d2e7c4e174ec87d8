#include "emulator/runtime/context_switch.h"

#include <cstdint>
#include <cstring>

namespace komt::emulator {

#if defined(KOMT_EMULATOR_UCONTEXT)

void make_context(Context& context, unsigned char* stack, std::size_t bytes, void (*entry)()) {
  getcontext(&context.context);
  context.context.uc_stack.ss_sp = stack;
  context.context.uc_stack.ss_size = bytes;
  context.context.uc_link = nullptr;
  makecontext(&context.context, entry, 0);
}

#elif defined(__x86_64__)

// System V ABI: a call preserves rbx, rbp and r12 to r15; nothing else has to survive.
asm(R"(
.text
.globl komt_emulator_switch
.hidden komt_emulator_switch
.type komt_emulator_switch, @function
komt_emulator_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size komt_emulator_switch, .-komt_emulator_switch
)");

void make_context(Context& context, unsigned char* stack, std::size_t bytes, void (*entry)()) {
  constexpr std::size_t kSavedRegisters = 6;
  // After the return into entry the stack pointer is 8 modulo 16, as behind a call.
  auto* top = reinterpret_cast<void**>((reinterpret_cast<std::uintptr_t>(stack) + bytes - 64) &
                                       ~std::uintptr_t{15});
  *top = reinterpret_cast<void*>(entry);
  std::memset(top - kSavedRegisters, 0, kSavedRegisters * sizeof(void*));
  context.stack_pointer = top - kSavedRegisters;
}

#elif defined(__aarch64__)

// AAPCS64: x19 to x30 and the low halves of v8 to v15 survive a call.
asm(R"(
.text
.globl komt_emulator_switch
.hidden komt_emulator_switch
.type komt_emulator_switch, @function
komt_emulator_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size komt_emulator_switch, .-komt_emulator_switch
)");

void make_context(Context& context, unsigned char* stack, std::size_t bytes, void (*entry)()) {
  constexpr std::size_t kFrame = 160;
  constexpr std::size_t kLinkRegister = 88;
  auto* frame = reinterpret_cast<unsigned char*>(
      ((reinterpret_cast<std::uintptr_t>(stack) + bytes - 64) & ~std::uintptr_t{15}) - kFrame);
  std::memset(frame, 0, kFrame);
  std::memcpy(frame + kLinkRegister, &entry, sizeof(entry));
  context.stack_pointer = frame;
}

#endif

}  // namespace komt::emulator
