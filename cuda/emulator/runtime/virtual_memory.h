// Address space: reserved at once, used as needed, protected at will.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define KOMT_EMULATOR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KOMT_EMULATOR_ASAN 1
#endif
#endif
#ifndef KOMT_EMULATOR_ASAN
#define KOMT_EMULATOR_ASAN 0
#endif

namespace komt::emulator {

enum class Protection { kNone, kRead, kReadWrite };

// Null when the system refuses. Pages cost nothing until touched.
unsigned char* reserve_pages(std::size_t bytes, Protection protection);
void release_pages(unsigned char* pages, std::size_t bytes);
void protect_pages(unsigned char* pages, std::size_t bytes, Protection protection);
std::size_t page_size();

// Tell the address sanitizer, in the build that has it, what may be touched.
void forbid_memory(const void* p, std::size_t bytes);
void allow_memory(const void* p, std::size_t bytes);

}  // namespace komt::emulator
