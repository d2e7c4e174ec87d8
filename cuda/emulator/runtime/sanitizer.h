// In builds with sanitizers: their findings become reports.
#pragma once

namespace komt::emulator {

void listen_to_sanitizers();

}  // namespace komt::emulator
