// Ends kernels that would run for ever, and turns faults into reports.
#pragma once

namespace komt::emulator {

class Block;

// While it lives, the calling OS thread runs the block. A thread of it that doesn't meet the
// emulator for settings().watchdog_seconds is reported and the block abandoned; so is one that
// touches memory it mustn't.
class Watched {
 public:
  explicit Watched(Block& block);
  ~Watched();
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
};

// Installs the handler for the host's own accesses; done by the first allocation.
void catch_faults();

}  // namespace komt::emulator
