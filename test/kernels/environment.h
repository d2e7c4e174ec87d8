// Where the kernel tests run: under the emulator (environment_emulated.cpp) or on a device
// (environment_device.cpp).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace komt::test::environment {

// For the summary: "emulated-fast", "emulated-asan", "emulated-race", or the device's name.
std::string name();
// Empty when kernels can be run, else the reason why not.
std::string why_unavailable();
// Under the emulator each test runs once for each seed; a device has one schedule, its own.
int default_seeds();
void begin_schedule(std::uint64_t seed);
// Buffers need no guards: an access out of bounds is reported where it happens.
bool checks_every_access();
// cudaMalloc gives 0xff bytes, and knows them to be unwritten. On a device the harness writes them.
bool fresh_memory_is_nan();
// Whether kernels run at the sizes of 7B and 13B models; the emulator takes a sixteenth.
bool full_size();
// What was found since the last call (races, reads of uninitialised memory, divergence, ...), as
// text.
std::vector<std::string> take_findings();
// More members for the summary line, each followed by ", "; may be empty.
std::string summary_fields();

}  // namespace komt::test::environment
