// Graphs: what was enqueued between cudaStreamBeginCapture and cudaStreamEndCapture, in an order
// that all its dependencies allow.
#pragma once

#include <map>
#include <vector>

#include "emulator/runtime/stream.h"

namespace komt::emulator {

// A graph under construction.
struct Capture {
  StreamPointer origin;
  std::vector<Operation> operations;
  // Per stream that takes part: operations before which its last one stands, and how many of them
  // the origin has waited for.
  struct Branch {
    std::uint64_t end = 0;
    std::uint64_t joined = 0;
  };
  std::map<StreamPointer, Branch> branches;
  StreamPointer last;
  bool is_invalid = false;

  cudaError_t add(const StreamPointer& stream, Operation operation);
};

}  // namespace komt::emulator

struct CUgraph_st {
  std::vector<komt::emulator::Operation> operations;
};

struct CUgraphExec_st {
  std::vector<komt::emulator::Operation> operations;
};
