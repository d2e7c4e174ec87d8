// What the CPU backend reaches beside what the machine gives: decode products against a read-only
// stream of the same size, prompt products against the peak of dependent-free multiply-adds.
// Usage: komt-bench-cpu [threads]. Instruction set: KOMT_CPU_ISA. Data is normally distributed;
// weights exceed the caches; each figure is the median of the repetitions.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/cpu_info.h"
#include "engine/sampling.h"

namespace {

using namespace komt;

double median_seconds(int repetitions, const std::function<void()>& body) {
  body();
  std::vector<double> times;
  for (int i = 0; i < repetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + repetitions / 2, times.end());
  return times[size_t(repetitions / 2)];
}

std::vector<float> normal(size_t count) {
  std::mt19937 engine(1);
  std::normal_distribution<float> distribution;
  // A block repeated: drawing billions of numbers would take longer than the measurement.
  std::vector<float> v(count);
  const size_t block = std::min<size_t>(count, 1 << 20);
  for (size_t i = 0; i < block; ++i) v[i] = distribution(engine);
  for (size_t i = block; i < count; ++i) v[i] = v[i - block];
  return v;
}

/// Bytes a second that the threads read when they only sum.
double read_bandwidth(int threads, size_t bytes) {
  std::vector<uint64_t> data(bytes / 8, 1);
  std::vector<uint64_t> sums(size_t(threads), 0);
  const double seconds = median_seconds(5, [&] {
    std::vector<std::thread> readers;
    for (int t = 0; t < threads; ++t) {
      readers.emplace_back([&, t] {
        const uint64_t* p = data.data() + data.size() / size_t(threads) * size_t(t);
        uint64_t lanes[32] = {};
        for (size_t i = 0; i + 32 <= data.size() / size_t(threads); i += 32)
          for (size_t j = 0; j < 32; ++j) lanes[j] += p[i + j];
        for (const uint64_t lane : lanes) sums[size_t(t)] += lane;
      });
    }
    for (std::thread& reader : readers) reader.join();
  });
  if (sums[0] == 0) std::printf("unreachable\n");
  return double(bytes) / seconds;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : cpu::usable_cores();
  auto backend = create_cpu_backend({threads, ""});
  const char* isa = std::getenv("KOMT_CPU_ISA");
  std::printf("%d threads, instruction set %s\n", threads, isa ? isa : "best");
  const double bandwidth = read_bandwidth(threads, size_t(512) << 20);
  std::printf("read-only stream, 512 MiB: %.1f GB/s\n\n", bandwidth / 1e9);

  const int64_t rows = 8192, cols = 4096;
  const auto source = normal(size_t(rows * cols));
  for (const DType dtype : {DType::f16, DType::bf16, DType::f32}) {
    // Enough weights that none is still cached when its turn comes again.
    std::vector<std::unique_ptr<Weight>> weights;
    for (int i = 0; i < 4; ++i) {
      weights.push_back(backend->create_weight(dtype, rows, cols, "benchmark"));
      const auto writer = backend->open_writer();
      const size_t bytes = source.size() * sizeof(float);
      std::memcpy(writer->reserve(bytes), source.data(), bytes);
      writer->store_rows(*weights.back(), 0, 1, DType::f32, rows);
    }
    for (const int64_t tokens : {1, 2, 4, 8, 32, 256}) {
      auto x = normal(size_t(tokens * cols));
      std::vector<float> y(size_t(tokens * rows));
      LinearArgs args;
      args.input = {x.data(), DType::f32, tokens, cols};
      args.output = {y.data(), DType::f32, tokens, rows};
      const double seconds = median_seconds(tokens > 32 ? 2 : 5, [&] {
        for (const auto& weight : weights) {
          args.weight = weight.get();
          backend->linear(args);
        }
      }) / 4;
      const double bytes = double(rows * cols) * double(size_of(dtype));
      std::printf("linear %-8s %4ld tokens x %ld x %ld: %8.3f ms  %6.1f GB/s (%3.0f%% of read)  %7.1f GFLOP/s\n",
                  name_of(dtype), long(tokens), long(rows), long(cols), seconds * 1e3,
                  bytes / seconds / 1e9, 100 * bytes / seconds / bandwidth,
                  2.0 * double(tokens * rows * cols) / seconds / 1e9);
    }
  }

  std::printf("\n");
  const int heads = 32, head_dim = 128;
  for (const auto& [past, added] : {std::pair{4095, 1}, std::pair{0, 1024}}) {
    const int length = past + added, pages = (length + kKvBlockTokens - 1) / kKvBlockTokens;
    auto keys = normal(size_t(pages) * heads * kKvBlockTokens * head_dim), values = keys;
    auto q = normal(size_t(added) * heads * head_dim);
    std::vector<float> output(q.size());
    std::vector<int32_t> table, positions, ids(size_t(added), 0), cu = {0, added}, lengths = {length};
    for (int i = 0; i < pages; ++i) table.push_back(i);
    for (int i = past; i < length; ++i) positions.push_back(i);
    Batch batch;
    batch.num_tokens = batch.max_new_tokens = added;
    batch.num_sequences = 1;
    batch.max_kv_length = length;
    batch.block_table_stride = pages;
    batch.positions = positions.data();
    batch.sequence_ids = ids.data();
    batch.cu_seqlens = cu.data();
    batch.kv_lengths = lengths.data();
    batch.block_table = table.data();
    AttentionArgs args;
    args.query = {q.data(), DType::f32, added, heads * head_dim};
    args.output = {output.data(), DType::f32, added, heads * head_dim};
    args.batch = &batch;
    args.kv = {keys.data(), values.data(), DType::f32, heads, head_dim};
    args.num_heads = heads;
    args.scale = 0.088f;
    const double seconds = median_seconds(3, [&] { backend->attention(args); });
    const double pairs = added == 1 ? length : 0.5 * added * (added + 1);
    std::printf("attention %d new of %d, %d heads of %d: %8.3f ms  %6.1f GB/s of cache  %7.1f GFLOP/s\n",
                added, length, heads, head_dim, seconds * 1e3,
                8.0 * length * heads * head_dim / seconds / 1e9,
                4.0 * pairs * heads * head_dim / seconds / 1e9);
  }

  std::printf("\n");
  Sampler sampler;
  for (const int vocab : {32000, 128256}) {
    const auto logits = normal(size_t(vocab));
    std::vector<float> scores(logits.size());
    const auto measure = [&](const char* name, const SamplingParams& params) {
      SampleRequest request;
      request.vocab = vocab;
      request.params = &params;
      const double seconds = median_seconds(51, [&] {
        std::memcpy(scores.data(), logits.data(), logits.size() * sizeof(float));
        request.scores = scores.data();
        ++request.row.step;
        (void)sampler.sample(request);
      });
      std::printf("sample %6d ids, %-24s %7.1f us\n", vocab, name, seconds * 1e6);
    };
    SamplingParams p;
    measure("greedy", p);
    p.do_sample = true;
    p.temperature = 0.7f;
    measure("no filter", p);
    p.top_p = 0.9f;
    measure("top_p 0.9", p);
    p.top_k = 50;
    measure("top_k 50, top_p 0.9", p);
    p.top_k = 5000;
    measure("top_k 5000, top_p 0.9", p);
  }
  return 0;
}
