#include "kernels/timing.h"

namespace komt::addon::kernels {

using cuda::check;

namespace {

/// Ends a capture whatever happened while it ran, and owns the graph.
class Capture {
 public:
  explicit Capture(cudaStream_t stream) : stream_(stream) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "Recording kernels");
  }
  ~Capture() {
    if (!ended_) (void)cudaStreamEndCapture(stream_, &graph_);
    if (graph_ != nullptr) (void)cudaGraphDestroy(graph_);
    (void)cudaGetLastError();
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  cudaGraph_t end() {
    ended_ = true;
    check(cudaStreamEndCapture(stream_, &graph_), "Recording kernels");
    return graph_;
  }

 private:
  cudaStream_t stream_;
  cudaGraph_t graph_ = nullptr;
  bool ended_ = false;
};

}  // namespace

Recording::Recording(Context& context, const std::function<void()>& enqueue) : context_(context) {
  context.require_alive();
  context.require_no_recording();
  const cuda::DeviceScope scope(context.device());
  struct Mark {
    explicit Mark(bool& flag) : flag(flag) { flag = true; }
    ~Mark() { flag = false; }
    bool& flag;
  } const mark(context.recording_);
  try {
    Capture capture(context.stream());
    enqueue();
    check(cudaGraphInstantiate(&executable_, capture.end(), 0), "cudaGraphInstantiate");
    check(cudaEventCreate(&start_), "cudaEventCreate");
    check(cudaEventCreate(&stop_), "cudaEventCreate");
  } catch (...) {
    release();
    throw;
  }
}

Recording::~Recording() { release(); }

void Recording::release() {
  if (executable_ != nullptr) (void)cudaGraphExecDestroy(executable_);
  if (start_ != nullptr) (void)cudaEventDestroy(start_);
  if (stop_ != nullptr) (void)cudaEventDestroy(stop_);
}

double Recording::replay() const {
  context_.require_alive();
  const cudaStream_t stream = context_.stream();
  check(cudaEventRecord(start_, stream), "cudaEventRecord");
  check(cudaGraphLaunch(executable_, stream), "cudaGraphLaunch");
  check(cudaEventRecord(stop_, stream), "cudaEventRecord");
  check(cudaEventSynchronize(stop_), "Running kernels on the device");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, start_, stop_), "cudaEventElapsedTime");
  return 1000.0 * double(milliseconds);
}

}  // namespace komt::addon::kernels
