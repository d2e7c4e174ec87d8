#pragma once
// The backend that runs on the host's cores.
#include <memory>
#include <string>

#include "engine/backend.h"

namespace komt {

struct CpuOptions {
  /// Threads that compute, the calling one included; 0 = the physical cores this process may use.
  int threads = 0;
  /// "generic", "avx2" or "avx512"; empty = the environment's KOMT_CPU_ISA, else the best the
  /// processor has.
  std::string isa;
};

/// float32, float16 and bfloat16 weights; activations, accumulation and cache are float32. (A cache in
/// half precision would be half the bytes, and answers would no longer be those of float32 arithmetic.)
///
/// Every result belongs to its token alone: it has the same bits whatever else is in the batch,
/// however a prompt is cut into batches, and on any number of threads (not across instruction sets).
///
/// A backend owns its threads and has no global state. Several of them may run at once; each takes
/// `threads` cores while it computes and none while it is idle. One thread at a time may call it, the
/// writers of weights excepted.
///
/// Throws invalid_argument for an instruction set that is unknown or that the processor lacks.
std::unique_ptr<Backend> create_cpu_backend(const CpuOptions& options = {});

}  // namespace komt
