// Findings: worded where they are made, collected here, shown once.
#pragma once

#include "emulator/control.h"
#include "emulator/device/execution.h"

namespace komt::emulator {

// printf-like. Adds the running kernel, block and thread, if there is one. The same message
// template from the same place is kept three times at most.
void report(Check check, SourceLocation where, const char* format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

inline constexpr SourceLocation kNowhere{"", 0};

// Text for cudaGetErrorString(cudaErrorAssert): the latest report.
const char* latest_report();

}  // namespace komt::emulator
