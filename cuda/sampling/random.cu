// The draw of a token, as a chain of kernels that pass over slices of the rows in parallel.
//
// The definition (sampling.h) needs a whole row's result before each next step: the largest score before
// any weight, their sum before any probability, the limit of top-p before the sum of what is left. Blocks of
// one kernel don't wait for each other, so each of these is a kernel of its own; in a graph, and with
// dependent launches, one after the other costs about 2 us:
//   no filter or min_p      prepare, weigh, draw                       3 launches
//   top_p                   prepare, weigh, histogram, edge, draw      5
//   small top_k, any other  prepare, list                              2
//   typical_p               5 more than without
// One row took an H200, microseconds: top_p of 32,000, 128,256 and 262,144 ids 34, 52 and 74; top_k 100 with
// top_p 20, 22 and 27. 16 rows of 128,256: 135 and 28. What is above launches and round trips is not yet
// profiled.
// Every kernel moves 4 to 12 bytes per id, all of top_p 36, of which all but the first 4 are in L2: 4.6 MB
// for 128,256 ids, 1 us at an H200's rate; 16 rows of them are 512 blocks.
//
// The workspace has 8 bytes per id and 98 KB per row.
#include "sampling/kernels.h"
#include "sampling/passes.cuh"

namespace komt::kernels {
namespace {

// What the list of the top-k kernel has room for, with as many more for ties and for its rough limit.
constexpr int kMostTopK = kSampleThreads / 2;

// Hands out parts of the workspace, of which it may have none to find how large it must be.
class Parts {
 public:
  explicit Parts(void* memory) : memory_(static_cast<unsigned char*>(memory)) {}

  template <class T>
  T* take(std::size_t count) {
    auto* const part = reinterpret_cast<T*>(memory_ + used_);
    used_ += (count * sizeof(T) + 15) / 16 * 16;
    return part;
  }
  std::size_t used() const { return used_; }

 private:
  unsigned char* memory_;
  std::size_t used_ = 0;
};

RandomWorkspace divide(Parts& parts, int rows, int vocab) {
  const auto of_rows = [&](int count) { return static_cast<std::size_t>(rows) * count; };
  RandomWorkspace workspace;
  workspace.states = parts.take<RowState>(of_rows(1));
  for (auto& sums : workspace.sums) sums = parts.take<SliceSums>(of_rows(slices_of(vocab)));
  for (auto& tops : workspace.tops) tops = parts.take<std::uint32_t>(of_rows(slices_of(vocab)));
  workspace.histograms = parts.take<Amount>(of_rows(kCuts * SelectShared::kBuckets));
  workspace.groups = parts.take<float>(of_rows(groups_of(vocab)));
  workspace.weights = parts.take<float>(of_rows(vocab));
  workspace.ids = parts.take<std::int32_t>(of_rows(vocab));
  return workspace;
}

// Enqueues one kernel after the other until one fails.
class Chain {
 public:
  Chain(const SampleArgs& args, const RandomWorkspace& workspace, cudaStream_t stream)
      : args_(args), workspace_(workspace), stream_(stream) {}

  cudaError_t draw() {
    const SamplingSettings& s = args_.settings;
    add(prepare_scores(args_, workspace_, false, stream_));
    if (s.top_k > 0 && s.top_k < args_.vocab) cut(CutKind::kCount);
    weigh_all(0);
    if (s.top_p < 1.0) cut(CutKind::kMass);
    if (s.min_p > 0.0f) {
      sum_pending();
      pending_ = Pending::kLeastProbability;
    }
    if (s.typical_p < 1.0f) {
      sum_pending();
      add(sum_entropy(args_, workspace_, from_, 1 - from_, stream_));
      from_ = 1 - from_;
      cut(CutKind::kDistance);
      add(find_top(args_, workspace_, stream_));
      pending_ = Pending::kNone;
      weigh_all(1);
    }
    add(draw_token(args_, workspace_, pending_, from_, stream_));
    return error_;
  }

 private:
  void add(cudaError_t error) {
    if (error_ == cudaSuccess) error_ = error;
  }

  void cut(CutKind kind) {
    add(find_limit(args_, workspace_, kind, from_, stream_));
    pending_ = kind == CutKind::kDistance ? Pending::kDistance : Pending::kThreshold;
  }

  void weigh_all(int tops) {
    add(weigh(args_, workspace_, pending_, tops, from_, stream_));
    pending_ = Pending::kNone;
  }

  // The next filter's probabilities are of what the pending one leaves.
  void sum_pending() {
    if (pending_ == Pending::kNone) return;
    add(sum_left(args_, workspace_, pending_, from_, 1 - from_, stream_));
    from_ = 1 - from_;
    pending_ = Pending::kNone;
  }

  const SampleArgs& args_;
  const RandomWorkspace& workspace_;
  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
  Pending pending_ = Pending::kNone;
  int from_ = 0;  // which sums hold
};

}  // namespace

std::size_t random_workspace_bytes(int rows, int vocab) {
  Parts parts(nullptr);
  divide(parts, rows, vocab);
  return parts.used();
}

cudaError_t sample_random(const SampleArgs& args, cudaStream_t stream) {
  Parts parts(args.workspace);
  const RandomWorkspace workspace = divide(parts, args.rows, args.vocab);
  const int top_k = args.settings.top_k;
  if (top_k > 0 && top_k < args.vocab && top_k <= kMostTopK) {
    const cudaError_t error = prepare_scores(args, workspace, true, stream);
    return error != cudaSuccess ? error : draw_from_list(args, workspace, stream);
  }
  return Chain(args, workspace, stream).draw();
}

}  // namespace komt::kernels
