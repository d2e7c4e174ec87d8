// Names and source lines of code addresses, for reports and the launch log.
#pragma once

#include <string>

namespace komt::emulator {

// The demangled name of the function that begins at `address`, local symbols included; its address
// in hexadecimal when the binary has no symbol table.
std::string function_name(const void* address);

// "file.cu:12" of the instruction before `address` (a return address), or the module and offset.
std::string source_line(const void* address);

}  // namespace komt::emulator
