#pragma once
// Weights on the device, and the way of their bytes from a file.
#include "backends/cuda/cuda_runtime.h"

namespace komt::cuda {

/// Row-major, as the kernels want it.
class CudaWeight : public Weight {
 public:
  CudaWeight(int device, DType dtype, int64_t rows, int64_t cols, const char* name)
      : Weight(dtype, rows, cols),
        buffer(device, size_t(rows) * size_t(cols) * size_of(dtype), name) {}
  DeviceBuffer buffer;
};

/// Pieces are read into page-locked memory; while the device fetches, converts and places one, the
/// next one is read.
class CudaWeightWriter : public WeightWriter {
 public:
  explicit CudaWeightWriter(int device);
  ~CudaWeightWriter() override;
  char* reserve(size_t bytes) override;
  void store_rows(Weight& weight, int64_t first, int64_t step, DType source_dtype,
                  int64_t count) override;
  void finish() override;

 private:
  struct Half {
    std::unique_ptr<PinnedBuffer> host;
    std::unique_ptr<DeviceBuffer> device;
    Event done;
    bool in_use = false;
  };
  struct Lane {
    Stream stream;
    Half halves[2];
  };

  int device_;
  std::unique_ptr<Lane> lane_;
  int half_ = 0;
};

}  // namespace komt::cuda
