// The graph part of the runtime API.
#include <algorithm>
#include <memory>
#include <utility>

#include "emulator/runtime/capture.h"
#include "emulator/runtime/device.h"
#include "emulator/runtime/settings.h"
#include "emulator/runtime/transfer.h"

namespace komt::emulator {

cudaError_t Capture::add(const StreamPointer& stream, Operation operation) {
  if (is_invalid) return cudaErrorStreamCaptureInvalidated;
  if (operation.kind == Operation::Kind::kFree) {
    is_invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  if (operation.kind == Operation::Kind::kKernel) {
    // Only an edge from a kernel right before it in the same stream can be a programmatic one.
    const bool follows_kernel =
        last == stream && !operations.empty() && operations.back().kind == Operation::Kind::kKernel;
    operation.kernel.launch.programmatic &= follows_kernel;
  }
  operations.push_back(std::move(operation));
  branches[stream].end = operations.size();
  last = stream;
  return cudaSuccess;
}

}  // namespace komt::emulator

using namespace komt::emulator;

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  StreamLock lock;
  const StreamPointer stream = lock.find(handle);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  if (stream->is_default) return remember(cudaErrorStreamCaptureUnsupported);
  if (stream->capture) return remember(cudaErrorStreamCaptureInvalidated);
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = stream;
  stream->capture->branches[stream];
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  *graph = nullptr;
  StreamLock lock;
  const StreamPointer stream = lock.find(handle);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture || capture->origin != stream) return remember(cudaErrorStreamCaptureUnmatched);
  bool is_joined = true;
  for (const auto& [branch, state] : capture->branches) {
    branch->capture = nullptr;
    is_joined &= branch == stream || state.joined >= state.end;
  }
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  if (capture->is_invalid) return remember(cudaErrorStreamCaptureInvalidated);
  if (!is_joined) return remember(cudaErrorStreamCaptureUnjoined);
  *graph = new CUgraph_st{std::move(capture->operations)};
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  if (graph == nullptr) return remember(cudaErrorInvalidValue);
  *executable = new CUgraphExec_st{graph->operations};
  return cudaSuccess;
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t executable, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo* result) {
  if (executable == nullptr || graph == nullptr) return remember(cudaErrorInvalidValue);
  const auto refuse = [&](cudaGraphExecUpdateResult reason) {
    *result = {reason, nullptr, nullptr};
    return remember(cudaErrorGraphExecUpdateFailure);
  };
  StreamLock lock;
  const auto& before = executable->operations;
  const auto& after = graph->operations;
  if (before.size() != after.size()) return refuse(cudaGraphExecUpdateErrorTopologyChanged);
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i].kind != after[i].kind) return refuse(cudaGraphExecUpdateErrorNodeTypeChanged);
    if (before[i].kind == Operation::Kind::kKernel &&
        before[i].kernel.launch.kernel != after[i].kernel.launch.kernel) {
      return refuse(cudaGraphExecUpdateErrorFunctionChanged);
    }
  }
  executable->operations = after;
  *result = {cudaGraphExecUpdateSuccess, nullptr, nullptr};
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  return executable == nullptr ? remember(cudaErrorInvalidValue) : cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  if (executable == nullptr) return remember(cudaErrorInvalidValue);
  StreamLock lock;
  const StreamPointer stream = lock.find(handle);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = device_error(stream->device)) return error;
  if (stream->capture) return remember(cudaErrorStreamCaptureUnsupported);
  for (const Operation& node : executable->operations) {
    Operation operation = node;
    if (operation.kind == Operation::Kind::kKernel) {
      operation.kernel.launch.sequence = ++settings().launches;
      operation.kernel.launch.id = ++settings().launch_ids;
    }
    if (operation.kind == Operation::Kind::kCopy) begin_transfer(operation.copy);
    if (const cudaError_t error = lock.enqueue(stream, std::move(operation)))
      return remember(error);
  }
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  if (executable == nullptr) return remember(cudaErrorInvalidValue);
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  if (graph == nullptr) return remember(cudaErrorInvalidValue);
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  if (graph == nullptr || count == nullptr) return remember(cudaErrorInvalidValue);
  // Handles are opaque: a node is told by its place.
  for (std::size_t i = 0; nodes != nullptr && i < std::min(*count, graph->operations.size()); ++i) {
    nodes[i] = reinterpret_cast<cudaGraphNode_t>(i + 1);
  }
  *count = graph->operations.size();
  return cudaSuccess;
}
