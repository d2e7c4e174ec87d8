#include "emulator/runtime/stream.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "emulator/runtime/capture.h"
#include "emulator/runtime/device.h"
#include "emulator/runtime/grid.h"
#include "emulator/runtime/memory_window.h"
#include "emulator/runtime/random.h"
#include "emulator/runtime/settings.h"
#include "emulator/runtime/transfer.h"

namespace komt::emulator {

namespace {

// A host that never waits doesn't fill the memory with its intentions.
constexpr std::size_t kLongestQueue = 4096;

struct Streams {
  std::mutex mutex;
  std::condition_variable host_function_ended;
  std::map<cudaStream_t, StreamPointer> created;
  StreamPointer defaults[kMaxDevices];
  Random random;
  std::uint64_t seeded = ~std::uint64_t{0};  // Settings::seeded that `random` belongs to
};

// Never destroyed: host threads may call until the process is gone.
Streams& streams() {
  static auto* streams = new Streams;
  return *streams;
}

}  // namespace

StreamLock::StreamLock() : lock_(streams().mutex) {}

StreamLock::~StreamLock() { open_memory(0); }

StreamPointer StreamLock::default_stream(int device) {
  StreamPointer& stream = streams().defaults[device];
  if (!stream) {
    stream = std::make_shared<CUstream_st>();
    stream->device = device;
    stream->is_default = true;
  }
  return stream;
}

StreamPointer StreamLock::find(cudaStream_t handle) {
  if (handle == nullptr) return default_stream(current_device_index());
  const auto found = streams().created.find(handle);
  return found == streams().created.end() ? nullptr : found->second;
}

cudaStream_t StreamLock::create(int device, bool is_blocking) {
  auto stream = std::make_shared<CUstream_st>();
  stream->device = device;
  stream->is_blocking = is_blocking;
  const cudaStream_t handle = stream.get();
  streams().created.emplace(handle, std::move(stream));
  return handle;
}

bool StreamLock::destroy(cudaStream_t handle) {
  const auto found = streams().created.find(handle);
  if (found == streams().created.end()) return false;
  run_all(found->second);
  streams().created.erase(found);
  return true;
}

bool StreamLock::any_capture() const {
  return std::any_of(streams().created.begin(), streams().created.end(),
                     [](const auto& entry) { return entry.second->capture != nullptr; });
}

// The default stream waits for all blocking streams of its device, and they for it (CUDA Runtime
// API, "Stream synchronization behavior", legacy default stream).
void StreamLock::order_with_default(const StreamPointer& stream) {
  const auto wait_for = [&](const StreamPointer& other) {
    if (other->executed == other->enqueued) return;
    Operation wait(Operation::Kind::kWait, stream->device);
    wait.wait = {other, other->enqueued};
    append(stream, std::move(wait));
  };
  if (stream->is_default) {
    for (const auto& [handle, other] : streams().created) {
      if (other->is_blocking && other->device == stream->device) wait_for(other);
    }
  } else if (stream->is_blocking) {
    if (const StreamPointer& other = streams().defaults[stream->device]) wait_for(other);
  }
}

void StreamLock::append(const StreamPointer& stream, Operation operation) {
  stream->queue.push_back(std::move(operation));
  ++stream->enqueued;
}

cudaError_t StreamLock::enqueue(const StreamPointer& stream, Operation operation) {
  if (stream->capture) return stream->capture->add(stream, std::move(operation));
  order_with_default(stream);
  append(stream, std::move(operation));
  if (stream->queue.size() > kLongestQueue) run_until(stream, stream->enqueued - kLongestQueue / 2);
  run_early();
  return cudaSuccess;
}

// Work may begin long before anybody waits for it: under a seed, some of it does.
void StreamLock::run_early() {
  const std::uint64_t seed = settings().seed;
  if (seed == 0) return;
  Streams& all = streams();
  if (all.seeded != settings().seeded) {
    all.random.seed(seed);
    all.seeded = settings().seeded;
  }
  if (!all.random.one_in(4)) return;
  std::vector<StreamPointer> busy;
  for (const auto& stream : all.defaults) {
    if (stream && !stream->queue.empty()) busy.push_back(stream);
  }
  for (const auto& [handle, stream] : all.created) {
    if (!stream->queue.empty()) busy.push_back(stream);
  }
  if (busy.empty()) return;
  // By what has been asked of them: the order of their addresses wouldn't repeat from run to run.
  std::stable_sort(busy.begin(), busy.end(), [](const StreamPointer& a, const StreamPointer& b) {
    return a->enqueued < b->enqueued;
  });
  const StreamPointer stream = busy[all.random.below(static_cast<std::uint32_t>(busy.size()))];
  const std::uint64_t pending = stream->enqueued - stream->executed;
  run_until(stream, stream->executed + 1 + all.random.below(static_cast<std::uint32_t>(pending)));
}

void StreamLock::run_until(const StreamPointer& stream, std::uint64_t sequence) {
  while (stream->executed < sequence && (!stream->queue.empty() || stream->is_executing)) {
    if (stream->is_executing) {
      open_memory(0);
      streams().host_function_ended.wait(lock_, [&] { return !stream->is_executing; });
    } else {
      run_one(stream);
    }
  }
}

void StreamLock::run_device(int device) {
  std::vector<StreamPointer> all{default_stream(device)};
  for (const auto& [handle, stream] : streams().created) {
    if (stream->device == device) all.push_back(stream);
  }
  for (const StreamPointer& stream : all) run_all(stream);
}

void StreamLock::run_some(const StreamPointer& stream) {
  if (!stream->queue.empty() && !stream->is_executing) run_one(stream);
}

void StreamLock::run_one(const StreamPointer& stream) {
  Operation operation = std::move(stream->queue.front());
  stream->queue.pop_front();
  const bool is_alive = device(operation.device).sticky_error == cudaSuccess;
  switch (operation.kind) {
    case Operation::Kind::kKernel:
      if (is_alive) {
        run_kernels(stream, std::move(operation));
        return;
      }
      break;
    case Operation::Kind::kWait: run_until(operation.wait.stream, operation.wait.sequence); break;
    case Operation::Kind::kHost:
      if (is_alive) run_host_function(*stream, operation.host);
      break;
    case Operation::Kind::kRecord:
      operation.record.time->when = std::chrono::steady_clock::now();
      break;
    case Operation::Kind::kCopy:
      end_transfer(operation.copy);
      if (is_alive) carry_out(operation.copy);
      break;
    case Operation::Kind::kSet:
      if (is_alive) carry_out(operation.set);
      break;
    case Operation::Kind::kFree:
      device(operation.device).memory.free(operation.free.pointer);
      break;
  }
  ++stream->executed;
}

// A kernel, and those behind it that may start before it has ended: each begins with a few blocks
// that run up to their wait, then its predecessor runs, then they go on.
void StreamLock::run_kernels(const StreamPointer& stream, Operation operation) {
  // Blocks hold on to their launch by address while they are ahead.
  Operation other(Operation::Kind::kKernel, operation.device);
  Operation* now = &operation;
  Operation* next = &other;
  BlocksAhead ahead;
  for (;;) {
    now->kernel.launch.arguments = now->kernel.arguments();
    open_memory(1u << now->device | device(now->device).peers);
    const bool has_dependent = !stream->queue.empty() &&
                               stream->queue.front().kind == Operation::Kind::kKernel &&
                               stream->queue.front().kernel.launch.programmatic;
    BlocksAhead next_ahead;
    if (has_dependent) {
      *next = std::move(stream->queue.front());
      stream->queue.pop_front();
      next->kernel.launch.arguments = next->kernel.arguments();
      next->kernel.launch.predecessor = now->kernel.launch.id;
      next_ahead = start_ahead(next->kernel.launch);
    }
    const cudaError_t error = run_grid(now->kernel.launch, std::move(ahead));
    if (error != cudaSuccess) set_sticky_error(now->device, error);
    ++stream->executed;
    if (!has_dependent) return;
    if (error != cudaSuccess) {
      ++stream->executed;
      discard_ahead(std::move(next_ahead));
      return;
    }
    ahead = std::move(next_ahead);
    std::swap(now, next);
  }
}

void StreamLock::run_host_function(CUstream_st& stream, const HostWork& work) {
  open_memory(0);
  stream.is_executing = true;
  lock_.unlock();
  work.function(work.user_data);
  lock_.lock();
  stream.is_executing = false;
  streams().host_function_ended.notify_all();
}

void StreamLock::discard(int device) {
  const auto drop = [](const StreamPointer& stream) {
    for (const Operation& operation : stream->queue) {
      if (operation.kind == Operation::Kind::kCopy) end_transfer(operation.copy);
    }
    stream->queue.clear();
    stream->executed = stream->enqueued;
    stream->capture = nullptr;
  };
  drop(default_stream(device));
  for (const auto& [handle, stream] : streams().created) {
    if (stream->device == device) drop(stream);
  }
}

void discard_work(int device) { StreamLock().discard(device); }

}  // namespace komt::emulator
