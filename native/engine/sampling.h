#pragma once
// The choice of the next token on the host: the reference of every backend's fused sampler. It
// chooses the tokens that the library's TypeScript processors and sampler choose, and rounds where
// they round, which is where PyTorch's float32 processors do.
//
// Scores are float32 [vocab]. In order:
//  1. repetition penalty: score < 0 ? score * p : score / p for every id that has occurred;
//  2. with mask_eos, the end-of-sequence ids become -inf;
//  3. without do_sample: the first id with the largest score (NaN counts as larger than anything).
// With do_sample:
//  4. score / temperature;
//  5. top_k: scores below the k-th largest go, ties with it stay; 0 = off;
//  6. top_p: in ascending order of (score, id), ids go while float32(cumulative probability)
//     <= float32(1 - top_p); the last one always stays;
//  7. min_p: ids less probable than min_p times the most probable one go;
//  8. typical_p: in ascending order of |surprise - entropy|, ids stay up to that mass, ties included;
//  9. with m the largest score left, w = float32(exp(float32(score - m))), the exponential taken in
//     double; the first id whose running sum of w (double, in id order) exceeds u * total, where u
//     is philox_uniform(seed, stream_hash, stream_lane, step).
// Probabilities in 6 to 8 are float32(w / float32(total)), renewed after each step.
#include <cstdint>
#include <span>
#include <vector>

#include "engine/backend.h"

namespace komt {

/// One row of a sampling call.
struct SampleRow {
  uint64_t stream_hash = 0;  ///< identity of the sequence for the random numbers
  uint32_t stream_lane = 0;
  uint32_t step = 0;         ///< index of the new token
};

struct SampleRequest {
  float* scores = nullptr;  ///< [vocab] logits; overwritten
  int vocab = 0;
  const SamplingParams* params = nullptr;
  SampleRow row;
  std::span<const int32_t> eos_token_ids;
  bool mask_eos = false;    ///< eos may not be chosen yet
  uint64_t seed = 0;
  uint8_t* seen = nullptr;  ///< [vocab] or none; the chosen id is marked
  bool want_logprob = false;
};

struct SampleResult {
  int32_t token = 0;
  /// Log-probability of the token under the processed scores; 0 unless wanted.
  float logprob = 0;
};

/// Holds the working memory; one per thread.
class Sampler {
 public:
  /// Throws invalid_argument when sampling from scores whose largest is not a finite number.
  SampleResult sample(const SampleRequest& request);

 private:
  void gather_candidates(const SampleRequest& request);
  void filter_top_p(double top_p);
  void filter_min_p(float min_p);
  void filter_typical(float mass);
  /// Recomputes weights_, top_ and total_ from scores_.
  void weigh();
  template <class Keep>
  void keep_if(const Keep& keep);
  int32_t draw(double u) const;

  // The ids still possible, ascending, with their scores and the weights of step 9.
  std::vector<int32_t> ids_;
  std::vector<float> scores_;
  std::vector<float> weights_;
  float top_ = 0;
  double total_ = 0;

  std::vector<float> selection_;
  std::vector<int32_t> order_;
  std::vector<double> bucket_mass_;
};

}  // namespace komt
