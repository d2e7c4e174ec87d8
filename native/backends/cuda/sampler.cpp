#include "backends/cuda/sampler.h"

#include <algorithm>
#include <cstring>

#include "sampling/sampling.h"

namespace komt::cuda {

namespace {

/// Lays arrays behind each other, 8-byte aligned, and says where they will be on the device.
class Packer {
 public:
  explicit Packer(std::vector<char>& bytes) : bytes_(bytes) { bytes_.clear(); }
  template <class T>
  size_t add(const T* values, size_t count) {
    const size_t at = (bytes_.size() + 7) / 8 * 8;
    bytes_.resize(at + count * sizeof(T));
    std::memcpy(bytes_.data() + at, values, count * sizeof(T));
    return at;
  }

 private:
  std::vector<char>& bytes_;
};

void reserve(std::unique_ptr<DeviceBuffer>& buffer, int device, size_t bytes, cudaStream_t stream,
             bool zero) {
  if (buffer && buffer->bytes() >= bytes) return;
  if (buffer) check(cudaStreamSynchronize(stream), "Waiting for the device");
  buffer.reset();
  buffer = std::make_unique<DeviceBuffer>(device, bytes, "sampling");
  if (zero) check(cudaMemsetAsync(buffer->data(), 0, bytes, stream), "cudaMemset");
}

}  // namespace

void Sampler::sample(const SampleArgs& in, UploadRing& ring, cudaStream_t stream, int device) {
  const size_t rows = in.rows.size();
  std::vector<uint64_t> hashes;
  std::vector<uint32_t> lanes;
  std::vector<uint32_t> steps;
  std::vector<uint32_t> min_steps;
  for (const SampleRow& row : in.rows) {
    hashes.push_back(row.stream_hash);
    lanes.push_back(row.stream_lane);
    steps.push_back(row.step);
    min_steps.push_back(row.mask_eos ? row.step + 1 : 0);
  }
  Packer packer(host_);
  const size_t hashes_at = packer.add(hashes.data(), rows);
  const size_t lanes_at = packer.add(lanes.data(), rows);
  const size_t steps_at = packer.add(steps.data(), rows);
  const size_t min_steps_at = packer.add(min_steps.data(), rows);
  const size_t eos_at = packer.add(in.eos_token_ids.data(), in.eos_token_ids.size());
  reserve(state_, device, host_.size(), stream, false);
  ring.upload(state_->data(), host_.data(), host_.size());
  const auto at = [&](size_t offset) -> const void* {
    return static_cast<const char*>(state_->data()) + offset;
  };

  kernels::SampleArgs args;
  args.logits = in.logits.f32();
  args.rows = int(rows);
  args.vocab = int(in.logits.cols);
  args.settings.do_sample = in.params->do_sample;
  args.settings.temperature = in.params->temperature;
  args.settings.top_k = in.params->top_k;
  args.settings.top_p = in.params->top_p;
  args.settings.min_p = in.params->min_p;
  args.settings.typical_p = in.params->typical_p;
  args.settings.repetition_penalty = in.params->repetition_penalty;
  args.eos_token_ids = static_cast<const int32_t*>(at(eos_at));
  args.num_eos = int(in.eos_token_ids.size());
  args.min_steps = static_cast<const uint32_t*>(at(min_steps_at));
  args.steps = static_cast<const uint32_t*>(at(steps_at));
  args.seed = in.seed;
  args.stream_hashes = static_cast<const uint64_t*>(at(hashes_at));
  args.stream_lanes = static_cast<const uint32_t*>(at(lanes_at));
  args.seen = in.seen;
  args.tokens = in.tokens;
  args.logprobs = in.logprobs;
  reserve(workspace_, device,
          std::max<size_t>(16, kernels::sample_workspace_bytes(args.rows, args.vocab, in.params->do_sample)),
          stream, false);
  reserve(tickets_, device, rows * sizeof(uint32_t), stream, true);
  args.workspace = workspace_->data();
  args.tickets = static_cast<uint32_t*>(tickets_->data());
  check(kernels::sample(args, stream), "sample");
}

}  // namespace komt::cuda
