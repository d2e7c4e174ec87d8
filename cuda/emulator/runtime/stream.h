// Streams: queues of operations, carried out when somebody waits for them (or earlier, as a seed
// has it).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

#include "emulator/runtime/operation.h"
#include "emulator/runtime_api.h"

namespace komt::emulator {

struct Capture;

}  // namespace komt::emulator

struct CUstream_st {
  int device = 0;
  bool is_blocking = true;  // ordered with the device's default stream
  bool is_default = false;
  bool is_executing = false;  // a host function of it runs, outside the lock
  std::deque<komt::emulator::Operation> queue;
  std::uint64_t enqueued = 0;
  std::uint64_t executed = 0;
  std::shared_ptr<komt::emulator::Capture> capture;
};

struct CUevent_st {
  std::shared_ptr<CUstream_st> stream;  // null: never recorded
  std::uint64_t sequence = 0;
  std::shared_ptr<komt::emulator::Capture> capture;  // recorded into a graph under construction
  std::uint64_t capture_position = 0;
  std::shared_ptr<komt::emulator::EventTime> time;
  bool has_timing = true;
};

namespace komt::emulator {

using StreamPointer = std::shared_ptr<CUstream_st>;

// The lock under which everything about streams happens. Operations run under it, host functions
// don't.
class StreamLock {
 public:
  StreamLock();
  ~StreamLock();  // keeps the host out of device memory again
  StreamLock(const StreamLock&) = delete;
  StreamLock& operator=(const StreamLock&) = delete;

  // The stream behind a handle; null stands for the current device's default stream. Empty when
  // there is none.
  StreamPointer find(cudaStream_t handle);
  StreamPointer default_stream(int device);
  cudaStream_t create(int device, bool is_blocking);
  bool destroy(cudaStream_t handle);

  // Appends; into the graph under construction if the stream is being captured.
  cudaError_t enqueue(const StreamPointer& stream, Operation operation);
  void run_until(const StreamPointer& stream, std::uint64_t sequence);
  void run_all(const StreamPointer& stream) { run_until(stream, stream->enqueued); }
  void run_device(int device);
  // Carries out one operation, so that a host which polls gets on.
  void run_some(const StreamPointer& stream);
  // Drops the device's queues without carrying them out.
  void discard(int device);
  bool any_capture() const;

 private:
  void order_with_default(const StreamPointer& stream);
  void append(const StreamPointer& stream, Operation operation);
  void run_early();
  void run_one(const StreamPointer& stream);
  void run_kernels(const StreamPointer& stream, Operation operation);
  void run_host_function(CUstream_st& stream, const HostWork& work);

  std::unique_lock<std::mutex> lock_;
};

void discard_work(int device);

}  // namespace komt::emulator
