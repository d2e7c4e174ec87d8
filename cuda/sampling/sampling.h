// The choice of the next token on the device. It chooses what the host's sampler chooses, and rounds
// where that one and PyTorch's float32 processors round. In order:
//  1. repetition penalty: score < 0 ? score * p : score / p for every id that has occurred;
//  2. the end-of-sequence ids become -infinity while they are masked;
//  3. without do_sample: the first id with the largest score (NaN counts as larger than anything).
// With do_sample:
//  4. score / temperature;
//  5. top_k: scores below the k-th largest go, ties with it stay; 0 = off;
//  6. top_p: in ascending order of (score, id), ids go while float32(cumulative probability)
//     <= float32(1 - top_p); the last one always stays;
//  7. min_p: ids less probable than min_p times the most probable one go;
//  8. typical_p: in ascending order of |surprise - entropy|, ids stay up to that mass, ties included;
//  9. with m the largest score left, w = float32(exp(float32(score - m))), the exponential in double;
//     the first id whose running sum of w (double, in id order) exceeds u * total.
// Probabilities in 6 to 8 are float32(w / float32(total)), total renewed after each step.
//
// u is Philox4x32-10 under the key (seed low, seed high) at the counter (step, lane, stream hash low,
// stream hash high): ((out[0] * 2^32 + out[1]) >> 11) * 2^-53 (Salmon et al., SC 2011).
//
// Determinism. Cumulative probabilities are summed exactly, as integers in units of 2^-62; totals and
// running sums in double, by parts of the row whose bounds and order are fixed by the number of ids (of a
// list that top_k leaves, by its length). A row depends on nothing but itself.
#pragma once

#include <cstdint>

#include "common/platform.cuh"

namespace komt::kernels {

struct SamplingSettings {
  bool do_sample = false;
  float temperature = 1.0f;         ///< positive
  int top_k = 0;                    ///< 0 = off
  double top_p = 1.0;               ///< 1 = off
  float min_p = 0.0f;               ///< 0 = off
  float typical_p = 1.0f;           ///< 1 = off
  float repetition_penalty = 1.0f;  ///< 1 = off; else `seen` is needed
};

/// Device pointers. `logits` is overwritten when sampling.
struct SampleArgs {
  float* logits = nullptr;  ///< [rows, vocab]
  int rows = 0;
  int vocab = 0;  ///< at most 2^24
  SamplingSettings settings;
  const std::int32_t* eos_token_ids = nullptr;  ///< [num_eos]
  int num_eos = 0;
  const std::uint32_t* min_steps = nullptr;  ///< [rows] eos is masked while steps[row] < it; null = never
  const std::uint32_t* steps = nullptr;      ///< [rows] index of the new token; may be null if greedy
                                             ///< and nothing is masked
  std::uint64_t seed = 0;
  const std::uint64_t* stream_hashes = nullptr;  ///< [rows] only with do_sample
  const std::uint32_t* stream_lanes = nullptr;   ///< [rows] only with do_sample
  std::uint8_t* seen = nullptr;    ///< [rows, vocab] 1 = id occurred; the chosen id is marked. Or none
  std::int32_t* tokens = nullptr;  ///< [rows] out; -1 where the largest score to sample from is no number
  float* logprobs = nullptr;  ///< [rows] out, log-probability under the processed scores, or none
  void* workspace = nullptr;  ///< sample_workspace_bytes() bytes, any contents, 16-byte aligned
  std::uint32_t* tickets = nullptr;  ///< [rows] zeros; zeros again afterwards
};

std::size_t sample_workspace_bytes(int rows, int vocab, bool do_sample);

/// Enqueues on `stream`. cudaErrorInvalidValue if the arguments break a rule above.
cudaError_t sample(const SampleArgs& args, cudaStream_t stream);

/// output[r, i] = log_softmax(logits[r])[i], float32; `output` may be `logits`.
cudaError_t log_softmax(const float* logits, float* output, int rows, int vocab,
                        cudaStream_t stream);

/// What scoring needs of a row without writing a vocabulary: the log-probability of one id and
/// whether greedy decoding would have chosen it.
struct ScoreTokensArgs {
  const float* logits = nullptr;          ///< [rows, vocab]
  const std::int32_t* targets = nullptr;  ///< [rows] ids
  float* logprobs = nullptr;              ///< [rows] out
  std::int32_t* best = nullptr;           ///< [rows] out, first id with the largest logit, or none
  int rows = 0;
  int vocab = 0;
};
cudaError_t score_tokens(const ScoreTokensArgs& args, cudaStream_t stream);

}  // namespace komt::kernels
