#include "backends/cuda/weights.h"

#include "backends/cuda/element_type.h"
#include "elementwise/convert.h"

namespace komt::cuda {

CudaWeightWriter::CudaWeightWriter(int device) : device_(device) {
  const DeviceScope scope(device_);
  lane_ = std::make_unique<Lane>();
}

CudaWeightWriter::~CudaWeightWriter() {
  // A read that failed leaves pieces under way, from memory that is about to go.
  (void)cudaStreamSynchronize(lane_->stream.get());
}

char* CudaWeightWriter::reserve(size_t bytes) {
  Half& half = lane_->halves[half_];
  if (half.in_use) half.done.wait();
  half.in_use = false;
  if (!half.host || half.host->bytes() < bytes) {
    const DeviceScope scope(device_);
    half.host.reset();
    half.device = std::make_unique<DeviceBuffer>(device_, bytes, "weights on their way");
    half.host = std::make_unique<PinnedBuffer>(bytes);
  }
  return half.host->data();
}

void CudaWeightWriter::store_rows(Weight& weight, int64_t first, int64_t step, DType source_dtype,
                                  int64_t count) {
  const DeviceScope scope(device_);
  const cudaStream_t stream = lane_->stream.get();
  Half& half = lane_->halves[half_];
  half_ ^= 1;
  const int64_t cols = weight.cols();
  const size_t bytes = size_t(count * cols) * size_of(source_dtype);
  check(cudaMemcpyAsync(half.device->data(), half.host->data(), bytes, cudaMemcpyHostToDevice, stream),
        "Uploading weights");
  kernels::ConvertRowsArgs args;
  args.source = half.device->data();
  args.source_type = element_type(source_dtype);
  args.source_row_stride = cols;
  args.target = static_cast<CudaWeight&>(weight).buffer.data();
  args.target_type = element_type(weight.dtype());
  args.first = first;
  args.step = step;
  args.count = count;
  args.cols = cols;
  check(kernels::convert_rows(args, stream), "Converting weights");
  half.done.record(stream);
  half.in_use = true;
}

void CudaWeightWriter::finish() {
  check(cudaStreamSynchronize(lane_->stream.get()), "Waiting for the weights");
}

}  // namespace komt::cuda
