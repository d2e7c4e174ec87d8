#pragma once
// Attention over a paged cache, written once over the vector vocabulary.
//
// A query's arithmetic depends on its own position only: scores of all the keys it sees, their
// maximum, exponentials and sum in key order, then the weighted values page by page (each page
// summed by itself). Other queries of the task share the pages while these are in cache.

namespace komt::cpu::KOMT_ISA {

/// Pages that a single token reads side by side, each the head of a run of its own, for the reason
/// that kStreams of kernels_matmul.h gives.
inline constexpr int kStreamPages = 4;

/// scores[j] = scale * q . keys[j] for N consecutive keys.
template <int N>
KOMT_INLINE void score_keys(const float* q, const float* keys, int64_t head_dim, float scale,
                            float* scores) {
  Vec sums[N];
  KOMT_UNROLL
  for (int j = 0; j < N; ++j) sums[j] = zero();
  int64_t i = 0;
  for (; i + kLanes <= head_dim; i += kLanes) {
    const Vec query = load(q + i);
    KOMT_UNROLL
    for (int j = 0; j < N; ++j) sums[j] = fma(query, load(keys + j * head_dim + i), sums[j]);
  }
  if (i < head_dim) {
    const int64_t n = head_dim - i;
    const Vec query = load_first(q + i, n);
    KOMT_UNROLL
    for (int j = 0; j < N; ++j)
      sums[j] = fma(query, load_first(keys + j * head_dim + i, n), sums[j]);
  }
  float totals[N];
  sum_vectors<N>(sums, totals);
  KOMT_UNROLL
  for (int j = 0; j < N; ++j) scores[j] = totals[j] * scale;
}

/// score_keys for keys j and j + 1 of each of kStreamPages pages.
KOMT_INLINE void score_streams(const float* q, const float* const* pages, int64_t j,
                               int64_t head_dim, float scale, float* scores) {
  Vec sums[2 * kStreamPages];
  KOMT_UNROLL
  for (int s = 0; s < 2 * kStreamPages; ++s) sums[s] = zero();
  int64_t i = 0;
  for (; i + kLanes <= head_dim; i += kLanes) {
    const Vec query = load(q + i);
    KOMT_UNROLL
    for (int s = 0; s < 2 * kStreamPages; ++s)
      sums[s] = fma(query, load(pages[s / 2] + (j + s % 2) * head_dim + i), sums[s]);
  }
  if (i < head_dim) {
    const int64_t n = head_dim - i;
    const Vec query = load_first(q + i, n);
    KOMT_UNROLL
    for (int s = 0; s < 2 * kStreamPages; ++s)
      sums[s] = fma(query, load_first(pages[s / 2] + (j + s % 2) * head_dim + i, n), sums[s]);
  }
  float totals[2 * kStreamPages];
  sum_vectors<2 * kStreamPages>(sums, totals);
  KOMT_UNROLL
  for (int s = 0; s < 2 * kStreamPages; ++s)
    scores[s / 2 * kPageKeys + j + s % 2] = totals[s] * scale;
}

/// output += sum_j weights[j] * values[j] for N vectors of the head.
template <int N>
KOMT_INLINE void add_values(const float* weights, const float* values, int64_t head_dim, int64_t count,
                            float* output) {
  Vec sums[N];
  KOMT_UNROLL
  for (int i = 0; i < N; ++i) sums[i] = zero();
  for (int64_t j = 0; j < count; ++j) {
    const Vec weight = set1(weights[j]);
    const float* row = values + j * head_dim;
    KOMT_UNROLL
    for (int i = 0; i < N; ++i) sums[i] = fma(weight, load(row + i * kLanes), sums[i]);
  }
  KOMT_UNROLL
  for (int i = 0; i < N; ++i) store(output + i * kLanes, add(load(output + i * kLanes), sums[i]));
}

KOMT_INLINE void add_values_partial(const float* weights, const float* values, int64_t head_dim,
                                    int64_t count, float* output, int64_t n) {
  Vec sum = zero();
  for (int64_t j = 0; j < count; ++j)
    sum = fma(set1(weights[j]), load_first(values + j * head_dim, n), sum);
  store_first(output, add(load_first(output, n), sum), n);
}

/// output += sum_j weights[j] * values[j] for `width` elements of rows that are head_dim long.
KOMT_INLINE void add_page(const float* weights, const float* values, int64_t head_dim,
                          int64_t width, int64_t count, float* output) {
  int64_t i = 0;
  for (; i + 8 * kLanes <= width; i += 8 * kLanes)
    add_values<8>(weights, values + i, head_dim, count, output + i);
  for (; i + 4 * kLanes <= width; i += 4 * kLanes)
    add_values<4>(weights, values + i, head_dim, count, output + i);
  for (; i + kLanes <= width; i += kLanes)
    add_values<1>(weights, values + i, head_dim, count, output + i);
  if (i < width) add_values_partial(weights, values + i, head_dim, count, output + i, width - i);
}

/// add_page for P whole pages side by side: each summed by itself, added in order. How many of them
/// (kValuePages), and how wide (kValueVectors), is what registers hold.
template <int P, int N>
KOMT_INLINE void add_pages(const float* weights, const float* const* pages, int64_t head_dim,
                           float* output) {
  int64_t i = 0;
  for (; i + N * kLanes <= head_dim; i += N * kLanes) {
    Vec sums[P][N];
    KOMT_UNROLL
    for (int p = 0; p < P; ++p) {
      KOMT_UNROLL
      for (int v = 0; v < N; ++v) sums[p][v] = zero();
    }
    for (int64_t j = 0; j < kPageKeys; ++j) {
      KOMT_UNROLL
      for (int p = 0; p < P; ++p) {
        const Vec weight = set1(weights[p * kPageKeys + j]);
        const float* row = pages[p] + j * head_dim + i;
        KOMT_UNROLL
        for (int v = 0; v < N; ++v) sums[p][v] = fma(weight, load(row + v * kLanes), sums[p][v]);
      }
    }
    KOMT_UNROLL
    for (int v = 0; v < N; ++v) {
      Vec total = load(output + i + v * kLanes);
      KOMT_UNROLL
      for (int p = 0; p < P; ++p) total = add(total, sums[p][v]);
      store(output + i + v * kLanes, total);
    }
  }
  if (i == head_dim) return;
  for (int p = 0; p < P; ++p)
    add_page(weights + p * kPageKeys, pages[p] + i, head_dim, head_dim - i, kPageKeys, output + i);
}

/// Replaces n scores by exp(score - max); returns their sum.
KOMT_INLINE float softmax_weights(float* scores, int64_t n) {
  float lanes[kLanes];
  Vec tops = set1(scores[0]);
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) tops = max(load(scores + j), tops);
  store(lanes, tops);
  float top = lanes[0];
  for (int i = 1; i < kLanes; ++i) top = lanes[i] > top ? lanes[i] : top;
  for (; j < n; ++j) top = scores[j] > top ? scores[j] : top;
  tops = set1(top);
  Vec sum = zero();
  j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    const Vec e = exp(sub(load(scores + j), tops));
    store(scores + j, e);
    sum = add(sum, e);
  }
  float rest = 0;
  if (j < n) {
    store_first(scores + j, exp(sub(load_first(scores + j, n - j), tops)), n - j);
    for (; j < n; ++j) rest += scores[j];
  }
  return sum_lanes(sum) + rest;
}

/// First key that a token at `position` sees.
KOMT_INLINE int64_t first_key(int64_t position, int window) {
  return window > 0 && position >= window ? position - window + 1 : 0;
}

static void attention(const AttentionTask& a) {
  int64_t low = first_key(a.positions[0], a.window);
  int64_t high = a.positions[0];
  for (int t = 1; t < a.tokens; ++t) {
    const int64_t position = a.positions[t];
    const int64_t first = first_key(position, a.window);
    low = first < low ? first : low;
    high = position > high ? position : high;
  }
  const int64_t first_page = low / kPageKeys;
  const int64_t last_page = high / kPageKeys;
  const int64_t origin = first_page * kPageKeys;  // key that scores[0] belongs to
  const int64_t head_dim = a.head_dim;

  // Whether a single token sees all of the kStreamPages pages that begin with this one.
  const auto streams = [&](int64_t page) {
    return a.tokens == 1 && page * kPageKeys >= low && (page + kStreamPages) * kPageKeys <= high + 1;
  };
  const auto stream_pages = [&](const float* base, int64_t page, const float** pages) {
    for (int p = 0; p < kStreamPages; ++p) pages[p] = base + a.pages[page + p] * a.page_stride;
  };

  for (int64_t page = first_page; page <= last_page; ++page) {
    if (streams(page)) {
      const float* pages[kStreamPages];
      stream_pages(a.keys, page, pages);
      float* scores = a.scores + page * kPageKeys - origin;
      for (int64_t j = 0; j < kPageKeys; j += 2) {
        for (int h = 0; h < a.heads; ++h)
          score_streams(a.query + h * head_dim, pages, j, head_dim, a.scale,
                        scores + h * a.score_stride);
      }
      page += kStreamPages - 1;
      continue;
    }
    const float* keys = a.keys + a.pages[page] * a.page_stride;
    for (int t = 0; t < a.tokens; ++t) {
      const int64_t begin = first_key(a.positions[t], a.window) - page * kPageKeys;
      const int64_t end = a.positions[t] + 1 - page * kPageKeys;
      const int64_t stop = end < kPageKeys ? end : kPageKeys;
      for (int h = 0; h < a.heads; ++h) {
        const float* query = a.query + t * a.token_stride + h * head_dim;
        float* scores =
            a.scores + (t * a.heads + h) * a.score_stride + page * kPageKeys - origin;
        int64_t j = begin > 0 ? begin : 0;
        for (; j + kTileKeys <= stop; j += kTileKeys)
          score_keys<kTileKeys>(query, keys + j * head_dim, head_dim, a.scale, scores + j);
        for (; j < stop; ++j)
          score_keys<1>(query, keys + j * head_dim, head_dim, a.scale, scores + j);
      }
    }
  }

  for (int t = 0; t < a.tokens; ++t) {
    const int64_t begin = first_key(a.positions[t], a.window);
    const int64_t count = a.positions[t] + 1 - begin;
    for (int h = 0; h < a.heads; ++h) {
      float* scores = a.scores + (t * a.heads + h) * a.score_stride + begin - origin;
      const float scale = 1.0f / softmax_weights(scores, count);
      for (int64_t j = 0; j < count; ++j) scores[j] *= scale;
      float* output = a.output + t * a.token_stride + h * head_dim;
      for (int64_t i = 0; i < head_dim; ++i) output[i] = 0;
    }
  }

  for (int64_t page = first_page; page <= last_page; ++page) {
    if (streams(page)) {
      const float* pages[kStreamPages];
      stream_pages(a.values, page, pages);
      for (int h = 0; h < a.heads; ++h) {
        const float* weights = a.scores + h * a.score_stride + page * kPageKeys - origin;
        for (int p = 0; p < kStreamPages; p += kValuePages)
          add_pages<kValuePages, kValueVectors>(weights + p * kPageKeys, pages + p, head_dim,
                                                a.output + h * head_dim);
      }
      page += kStreamPages - 1;
      continue;
    }
    for (int t = 0; t < a.tokens; ++t) {
      const int64_t first = first_key(a.positions[t], a.window) - page * kPageKeys;
      const int64_t end = a.positions[t] + 1 - page * kPageKeys;
      const int64_t begin = first > 0 ? first : 0;
      const int64_t count = (end < kPageKeys ? end : kPageKeys) - begin;
      if (count <= 0) continue;
      const float* values = a.values + a.pages[page] * a.page_stride + begin * head_dim;
      for (int h = 0; h < a.heads; ++h) {
        const float* weights = a.scores + (t * a.heads + h) * a.score_stride + page * kPageKeys +
                               begin - origin;
        add_page(weights, values, head_dim, head_dim, count,
                 a.output + t * a.token_stride + h * head_dim);
      }
    }
  }
}

}  // namespace komt::cpu::KOMT_ISA
