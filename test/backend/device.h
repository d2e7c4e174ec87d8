#pragma once
// CUDA devices under test: emulated ones, whose schedule, memory and faults a test decides, or the
// machine's own.
#include <cstdlib>

#include "backends/cuda/cuda_backend.h"
#include "common/platform.cuh"
#include "engine_support.h"

#ifdef KOMT_CUDA_EMULATED
#include "emulator/control.h"
#endif

namespace komt::test {

#ifdef KOMT_CUDA_EMULATED
inline constexpr bool kEmulated = true;
inline constexpr int kSchedules = 3;  // in order, by random priorities, uniformly random
inline void begin_schedule(int seed) { emulator::set_seed(uint64_t(seed)); }
inline int device_count() {
  emulator::set_device_count(2);
  return 2;
}
/// Races, reads of what was never written, overruns, missing waits.
inline void check_findings() {
  for (const emulator::Report& report : emulator::take_reports()) {
    CHECK_THAT(false, report.kernel + ": " + report.message);
  }
}
#else
inline constexpr bool kEmulated = false;
inline constexpr int kSchedules = 1;
inline void begin_schedule(int) {}
inline int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}
inline void check_findings() {}
#endif

inline Engine::BackendFactory cuda_backends(int count = 1, DType dtype = DType::f16) {
  return [=] {
    std::vector<std::unique_ptr<Backend>> backends;
    for (int device = 0; device < count; ++device) {
      backends.push_back(create_cuda_backend(device, dtype));
    }
    return backends;
  };
}

/// An engine with a model on CUDA devices (none of them: on the CPU) and one open session.
struct Loaded {
  explicit Loaded(int devices, DType dtype = DType::f16) : checkpoint(cuda_config(dtype)) {
    const Failure failure = load(engine, checkpoint.config, checkpoint.sources,
                                 devices > 0 ? cuda_backends(devices, dtype) : cpu_backends(), 3);
    if (failure.failed) throw std::runtime_error(failure.message);
    session = engine.open_session();
  }
  static ModelConfig cuda_config(DType dtype = DType::f16) {
    ModelConfig config = tiny_config();
    config.dtype = dtype;
    config.cache_tokens = 4096;
    return config;
  }

  TinyCheckpoint checkpoint;
  Engine engine;
  Engine::SessionId session = 0;
};

/// Says why and returns false where fewer devices are there.
inline bool have_devices(int count) {
  const int there = device_count();
  if (there < count) {
    // Where a GPU is known to be, a suite that finds none has failed.
    CHECK(there > 0 || std::getenv("KOMT_REQUIRE_GPU") == nullptr);
    outcome().skipped = std::to_string(count) + " CUDA devices are needed, there are " +
                        std::to_string(there);
  }
  return there >= count;
}

inline size_t free_memory(int device) {
  size_t free = 0;
  size_t total = 0;
  CHECK(cudaSetDevice(device) == cudaSuccess && cudaMemGetInfo(&free, &total) == cudaSuccess);
  return free;
}

}  // namespace komt::test
