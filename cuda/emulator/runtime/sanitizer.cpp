#include "emulator/runtime/sanitizer.h"

#include <cstring>
#include <string>

#include "emulator/runtime/block.h"
#include "emulator/runtime/report.h"
#include "emulator/runtime/virtual_memory.h"

#if KOMT_EMULATOR_ASAN

#include <sanitizer/asan_interface.h>

namespace {

// "#1 0x... in name file:line:column": the first frame of a report that has source.
std::string first_source_line(const char* text) {
  const char* at = text;
  while ((at = std::strstr(at, "\n    #")) != nullptr) {
    at += 1;
    const std::string frame(at, std::strcspn(at, "\n"));
    const auto slash = frame.find('/');
    const bool is_own = frame.find("/emulator/runtime/") != std::string::npos ||
                        frame.find("/emulator/device/") != std::string::npos ||
                        frame.find("/emulator/ptx/") != std::string::npos ||
                        frame.find("libsanitizer") != std::string::npos;
    if (slash != std::string::npos && !is_own) return frame.substr(slash);
  }
  return "an unknown place";
}

void on_address_report(const char* text) {
  const char* kind = std::strstr(text, "AddressSanitizer: ");
  const std::string name =
      kind == nullptr ? "" : std::string(kind + 18, std::strcspn(kind + 18, " \n"));
  komt::emulator::report(komt::emulator::Check::kOutOfBounds, komt::emulator::kNowhere,
                         "address sanitizer: %s at %s", name.c_str(),
                         first_source_line(text).c_str());
  if (komt::emulator::current_block != nullptr) komt::emulator::current_block->count_fault();
}

}  // namespace

extern "C" {

// Kernels go on after a finding, and the same place is found again under the next seed; leaks are
// the host program's own business.
const char* __asan_default_options() {
  return "halt_on_error=0:suppress_equal_pcs=0:detect_leaks=0:allow_user_segv_handler=1";
}

void __ubsan_get_current_report_data(const char** kind, const char** message, const char** file,
                                     unsigned* line, unsigned* column, char** address);

void __ubsan_on_report() {
  const char* kind = "";
  const char* message = "";
  const char* file = "";
  unsigned line = 0;
  unsigned column = 0;
  char* address = nullptr;
  __ubsan_get_current_report_data(&kind, &message, &file, &line, &column, &address);
  komt::emulator::report(komt::emulator::Check::kMisuse, komt::emulator::kNowhere,
                         "undefined behaviour: %s at %s:%u", message, file, line);
}

}  // extern "C"

namespace komt::emulator {

void listen_to_sanitizers() { __asan_set_error_report_callback(on_address_report); }

}  // namespace komt::emulator

#else

namespace komt::emulator {

void listen_to_sanitizers() {}

}  // namespace komt::emulator

#endif
