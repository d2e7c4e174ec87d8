// A token's results have the same bits alone, in any batch, in any chunk, on any number of threads.
#include <algorithm>
#include <cstring>

#include "support.h"

namespace komt::test {
namespace {

bool same_bits(const float* a, const float* b, size_t count) {
  return std::memcmp(a, b, count * sizeof(float)) == 0;
}

TEST("invariance: linear, one token at a time, in chunks, on 1, 2 and 3 threads") {
  const int tokens = 43, rows = 150, cols = 2085;
  for (const std::string& isa : instruction_sets()) {
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      for (const Epilogue epilogue : {Epilogue::store, Epilogue::silu_gate, Epilogue::residual_add}) {
        Random random(11);
        auto x = random.normal(size_t(tokens * cols));
        const auto w = random.normal(size_t(rows * cols));
        const auto norm_weight = random.normal(size_t(cols));
        const auto bias = random.normal(size_t(rows));
        const Norm norm{norm_weight.data(), 1e-6f};
        const int out_cols = epilogue == Epilogue::silu_gate ? rows / 2 : rows;
        const auto before = random.normal(size_t(tokens * out_cols));

        const auto run = [&](int threads, int chunk) {
          auto backend = create_cpu_backend({threads, isa});
          const auto weight = make_weight(*backend, dtype, rows, cols, w);
          auto y = before;
          for (int t = 0; t < tokens; t += chunk) {
            const int n = std::min(chunk, tokens - t);
            LinearArgs args;
            args.input = {x.data() + t * cols, DType::f32, n, cols};
            args.norm = &norm;
            args.weight = weight.get();
            args.bias = bias.data();
            args.epilogue = epilogue;
            args.output = {y.data() + t * out_cols, DType::f32, n, out_cols};
            backend->linear(args);
          }
          return y;
        };
        const auto whole = run(1, tokens);
        for (const int chunk : {1, 2, 3, 4, 5, 16, tokens}) {
          const int threads = 1 + chunk % 3;
          CHECK_THAT(same_bits(run(threads, chunk).data(), whole.data(), whole.size()),
                     isa + " " + name_of(dtype) + ", chunks of " + std::to_string(chunk) + " on " +
                         std::to_string(threads) + " threads");
        }
        CHECK(same_bits(run(3, tokens).data(), whole.data(), whole.size()));
      }
    }
  }
}

TEST("invariance: linear, few tokens and many over more rows than a thread takes at once") {
  const int tokens = 9, rows = 2306, cols = 40;
  for (const std::string& isa : instruction_sets()) {
    for (const Epilogue epilogue : {Epilogue::store, Epilogue::silu_gate, Epilogue::residual_add}) {
      Random random(13);
      auto x = random.normal(size_t(tokens * cols));
      const auto w = random.normal(size_t(rows * cols));
      const int out_cols = epilogue == Epilogue::silu_gate ? rows / 2 : rows;
      const auto before = random.normal(size_t(tokens * out_cols));
      const auto run = [&](int threads, int chunk) {
        auto backend = create_cpu_backend({threads, isa});
        const auto weight = make_weight(*backend, DType::f16, rows, cols, w);
        auto y = before;
        for (int t = 0; t < tokens; t += chunk) {
          const int n = std::min(chunk, tokens - t);
          LinearArgs args;
          args.input = {x.data() + t * cols, DType::f32, n, cols};
          args.weight = weight.get();
          args.epilogue = epilogue;
          args.output = {y.data() + t * out_cols, DType::f32, n, out_cols};
          backend->linear(args);
        }
        return y;
      };
      const auto whole = run(1, tokens);
      for (const int chunk : {1, 2, 3, 4, 5}) {
        for (const int threads : {1, 2, 3}) {
          CHECK_THAT(same_bits(run(threads, chunk).data(), whole.data(), whole.size()),
                     isa + ", chunks of " + std::to_string(chunk) + " on " +
                         std::to_string(threads) + " threads");
        }
      }
    }
  }
}

TEST("invariance: rope_append and attention, whole prompts against chunks and single tokens") {
  const int heads = 6, kv_heads = 2, head_dim = 72, cols = 96;
  const int rows = (heads + 2 * kv_heads) * head_dim, width = heads * head_dim;
  for (const std::string& isa : instruction_sets()) {
    for (const int window : {0, 50, 320}) {
      Random random(12);
      // From an empty cache, so that the batch itself writes all that it reads.
      // The longest has pages enough that single tokens read several side by side.
      BatchData data({{0, 390}, {0, 1}, {0, 67}}, random);
      const Batch whole = data.view();
      auto x = random.normal(size_t(whole.num_tokens * cols));
      const auto w = random.normal(size_t(rows * cols), 0.2f);
      const auto cosines = random.normal(400 * head_dim / 2);
      const auto sines = random.normal(400 * head_dim / 2);

      struct Result {
        std::vector<float> keys, values, output;
      };
      const auto step = [&](Backend& backend, const Weight& weight, const Batch& batch, int first,
                            Result& result) {
        std::vector<float> q(size_t(batch.num_tokens * width), kNaN);
        const KvLayer kv{result.keys.data(), result.values.data(), DType::f32, kv_heads, head_dim};
        LinearArgs linear;
        linear.input = {x.data() + first * cols, DType::f32, batch.num_tokens, cols};
        linear.weight = &weight;
        linear.epilogue = Epilogue::rope_append;
        linear.output = tensor(q, batch.num_tokens, width);
        linear.batch = &batch;
        linear.rope = {cosines.data(), sines.data()};
        linear.kv = kv;
        linear.num_heads = heads;
        backend.linear(linear);
        AttentionArgs attention;
        attention.query = tensor(q, batch.num_tokens, width);
        attention.output = {result.output.data() + first * width, DType::f32, batch.num_tokens, width};
        attention.batch = &batch;
        attention.kv = kv;
        attention.num_heads = heads;
        attention.scale = 0.117f;
        attention.window = window;
        backend.attention(attention);
      };
      const auto empty = [&] {
        const size_t size = data.cache_size(kv_heads, head_dim);
        return Result{std::vector<float>(size, 0.0f), std::vector<float>(size, 0.0f),
                      std::vector<float>(size_t(whole.num_tokens * width), kNaN)};
      };
      Result expected = empty();
      {
        auto backend = create_cpu_backend({1, isa});
        const auto weight = make_weight(*backend, DType::f16, rows, cols, w);
        step(*backend, *weight, whole, 0, expected);
        CHECK(std::none_of(expected.output.begin(), expected.output.end(),
                           [](float v) { return std::isnan(v); }));
      }
      for (const int chunk : {1, 7, 64, 1000}) {
        for (const int threads : {1, 2, 3}) {
          auto backend = create_cpu_backend({threads, isa});
          const auto weight = make_weight(*backend, DType::f16, rows, cols, w);
          Result found = empty();
          for (int s = 0; s < whole.num_sequences; ++s) {
            const int length = data.kv_lengths[size_t(s)];
            for (int t = 0; t < length; t += chunk) {
              BatchData part = data.part(s, t, std::min(t + chunk, length));
              step(*backend, *weight, part.view(), data.cu_seqlens[size_t(s)] + t, found);
            }
          }
          CHECK_THAT(same_bits(found.output.data(), expected.output.data(), expected.output.size()) &&
                         same_bits(found.keys.data(), expected.keys.data(), expected.keys.size()) &&
                         same_bits(found.values.data(), expected.values.data(), expected.values.size()),
                     isa + ", chunks of " + std::to_string(chunk) + " on " +
                         std::to_string(threads) + " threads, window " + std::to_string(window));
        }
      }
    }
  }
}

}  // namespace
}  // namespace komt::test
