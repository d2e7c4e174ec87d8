// Capture, replay and update of graphs.
#include "common/launch.cuh"
#include "device_buffer.h"

namespace komt::test {
namespace {

__global__ void __launch_bounds__(32) add_kernel(int* x, int value) { x[threadIdx.x] += value; }
__global__ void __launch_bounds__(32) multiply_kernel(int* x, int value) {
  x[threadIdx.x] *= value;
}

// x = (x + addend) * 2, the multiplication in a forked stream.
cudaGraph_t capture(cudaStream_t stream, cudaStream_t other, int* x, int addend) {
  cudaEvent_t fork = nullptr;
  cudaEvent_t join = nullptr;
  EXPECT_OK(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
  EXPECT_OK(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
  EXPECT_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  EXPECT_OK(launch(add_kernel, {.grid = 1, .block = 32, .stream = stream}, x, addend));
  EXPECT_OK(cudaEventRecord(fork, stream));
  EXPECT_OK(cudaStreamWaitEvent(other, fork));
  EXPECT_OK(launch(multiply_kernel, {.grid = 1, .block = 32, .stream = other}, x, 2));
  EXPECT_OK(cudaEventRecord(join, other));
  EXPECT_OK(cudaStreamWaitEvent(stream, join));
  cudaGraph_t graph = nullptr;
  EXPECT_OK(cudaStreamEndCapture(stream, &graph));
  EXPECT_OK(cudaEventDestroy(fork));
  EXPECT_OK(cudaEventDestroy(join));
  return graph;
}

struct TwoStreams {
  cudaStream_t first = nullptr;
  cudaStream_t second = nullptr;
  TwoStreams() {
    EXPECT_OK(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    EXPECT_OK(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
  }
  ~TwoStreams() {
    EXPECT_OK(cudaStreamDestroy(first));
    EXPECT_OK(cudaStreamDestroy(second));
  }
};

TEST(a_graph_replays_what_was_captured) {
  DeviceBuffer<int> x(std::vector<int>(32, 1));
  const TwoStreams streams;
  const cudaGraph_t graph = capture(streams.first, streams.second, x.get(), 3);
  EXPECT_EQ(x.download()[0], 1);  // capturing runs nothing
  std::size_t nodes = 0;
  EXPECT_OK(cudaGraphGetNodes(graph, nullptr, &nodes));
  EXPECT_EQ(nodes, std::size_t{2});
  cudaGraphExec_t executable = nullptr;
  EXPECT_OK(cudaGraphInstantiate(&executable, graph, 0));
  EXPECT_OK(cudaGraphDestroy(graph));
  for (int i = 0; i < 3; ++i) EXPECT_OK(cudaGraphLaunch(executable, streams.first));
  EXPECT_OK(cudaStreamSynchronize(streams.first));
  EXPECT_EQ(x.download()[0], 50);  // 1 -> 8 -> 22 -> 50
  EXPECT_OK(cudaGraphExecDestroy(executable));
}

TEST(a_graph_is_updated_when_its_shape_is_the_same) {
  DeviceBuffer<int> x(std::vector<int>(32, 1));
  const TwoStreams streams;
  const cudaGraph_t before = capture(streams.first, streams.second, x.get(), 3);
  const cudaGraph_t after = capture(streams.first, streams.second, x.get(), 10);
  cudaGraphExec_t executable = nullptr;
  EXPECT_OK(cudaGraphInstantiate(&executable, before, 0));
  cudaGraphExecUpdateResultInfo result{};
  EXPECT_OK(cudaGraphExecUpdate(executable, after, &result));
  EXPECT_OK(cudaGraphLaunch(executable, streams.first));
  EXPECT_OK(cudaStreamSynchronize(streams.first));
  EXPECT_EQ(x.download()[0], 22);

  EXPECT_OK(cudaStreamBeginCapture(streams.first, cudaStreamCaptureModeGlobal));
  EXPECT_OK(launch(add_kernel, {.grid = 1, .block = 32, .stream = streams.first}, x.get(), 1));
  cudaGraph_t shorter = nullptr;
  EXPECT_OK(cudaStreamEndCapture(streams.first, &shorter));
  EXPECT_EQ(static_cast<int>(cudaGraphExecUpdate(executable, shorter, &result)),
            static_cast<int>(cudaErrorGraphExecUpdateFailure));
  EXPECT_EQ(static_cast<int>(result.result),
            static_cast<int>(cudaGraphExecUpdateErrorTopologyChanged));
  cudaGetLastError();
  EXPECT_OK(cudaGraphExecDestroy(executable));
  for (const cudaGraph_t graph : {before, after, shorter}) EXPECT_OK(cudaGraphDestroy(graph));
}

TEST(a_capture_refuses_what_a_graph_cannot_hold) {
  DeviceBuffer<int> x(std::vector<int>(32, 1));
  const TwoStreams streams;
  cudaGraph_t graph = nullptr;
  EXPECT_OK(cudaStreamBeginCapture(streams.first, cudaStreamCaptureModeGlobal));
  EXPECT_EQ(static_cast<int>(cudaStreamSynchronize(streams.first)),
            static_cast<int>(cudaErrorStreamCaptureUnsupported));
  EXPECT_EQ(static_cast<int>(cudaStreamEndCapture(streams.first, &graph)),
            static_cast<int>(cudaErrorStreamCaptureInvalidated));

  // A stream that was forked and never joined.
  cudaEvent_t fork = nullptr;
  EXPECT_OK(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
  EXPECT_OK(cudaStreamBeginCapture(streams.first, cudaStreamCaptureModeGlobal));
  EXPECT_OK(cudaEventRecord(fork, streams.first));
  EXPECT_OK(cudaStreamWaitEvent(streams.second, fork));
  EXPECT_OK(launch(add_kernel, {.grid = 1, .block = 32, .stream = streams.second}, x.get(), 1));
  EXPECT_EQ(static_cast<int>(cudaStreamEndCapture(streams.first, &graph)),
            static_cast<int>(cudaErrorStreamCaptureUnjoined));
  EXPECT_OK(cudaEventDestroy(fork));

  void* p = nullptr;
  EXPECT_OK(cudaStreamBeginCapture(streams.first, cudaStreamCaptureModeGlobal));
  EXPECT_EQ(static_cast<int>(cudaMalloc(&p, 16)),
            static_cast<int>(cudaErrorStreamCaptureUnsupported));
  EXPECT_OK(cudaStreamEndCapture(streams.first, &graph));
  EXPECT_OK(cudaGraphDestroy(graph));
  cudaGetLastError();
}

}  // namespace
}  // namespace komt::test
