#pragma once
#include <functional>

#include "kernels/context.h"

namespace komt::addon::kernels {

/// Launches recorded once into a graph, so that what is timed is the device and not the host that
/// enqueues.
class Recording {
 public:
  /// Records what `enqueue` launches on the context's stream. An exception of `enqueue` ends the
  /// recording and is passed on.
  Recording(Context& context, const std::function<void()>& enqueue);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  /// Runs the recording and waits; microseconds between its first and its last kernel.
  double replay() const;

 private:
  void release();

  Context& context_;
  cudaEvent_t start_ = nullptr;
  cudaEvent_t stop_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace komt::addon::kernels
