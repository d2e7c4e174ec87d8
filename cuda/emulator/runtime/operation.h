// One piece of asynchronous work, as it waits in a stream or stands in a graph.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "emulator/runtime/block.h"
#include "emulator/runtime_types.h"

struct CUevent_st;
struct CUstream_st;

namespace komt::emulator {

struct KernelWork {
  static constexpr std::size_t kInlineBytes = 256;

  KernelLaunch launch;
  alignas(16) unsigned char inline_arguments[kInlineBytes] = {};
  std::vector<unsigned char> more_arguments;  // instead, when they are longer

  void set_arguments(const unsigned char* arguments, std::size_t bytes);
  const unsigned char* arguments() const {
    return more_arguments.empty() ? inline_arguments : more_arguments.data();
  }
};

// height rows of width bytes.
struct CopyWork {
  void* destination;
  std::size_t destination_pitch;
  const void* source;
  std::size_t source_pitch;
  std::size_t width;
  std::size_t height;
  std::vector<unsigned char> staged;  // of a pageable source: its bytes at the call, dense

  std::size_t destination_bytes() const { return span(destination_pitch); }
  std::size_t source_bytes() const { return span(source_pitch); }

 private:
  std::size_t span(std::size_t pitch) const {
    return width == 0 || height == 0 ? 0 : (height - 1) * pitch + width;
  }
};

struct SetWork {
  void* destination;
  int value;
  std::size_t bytes;
};

struct FreeWork {
  void* pointer;
};

struct HostWork {
  cudaHostFn_t function;
  void* user_data;
};

// When the event was last recorded by work that has been carried out.
struct EventTime {
  std::chrono::steady_clock::time_point when;
};

struct RecordWork {
  std::shared_ptr<EventTime> time;
};

struct WaitWork {
  std::shared_ptr<CUstream_st> stream;
  std::uint64_t sequence;
};

struct Operation {
  enum class Kind { kKernel, kCopy, kSet, kFree, kHost, kRecord, kWait };

  Kind kind;
  int device;
  KernelWork kernel;
  CopyWork copy;
  SetWork set;
  FreeWork free;
  HostWork host;
  RecordWork record;
  WaitWork wait;

  Operation(Kind kind_, int device_)
      : kind(kind_), device(device_), copy{}, set{}, free{}, host{}, wait{} {}
};

}  // namespace komt::emulator
