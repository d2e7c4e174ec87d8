// Microbenchmarks of kernels on a real GPU.
//
//   KOMT_KERNEL_BENCH(row_sum) {
//     Rotating<half> x(bytes_of_one_set / sizeof(half));
//     const double us = microseconds([&](int i, cudaStream_t stream) {
//       return row_sum(x.at(i), ..., stream);
//     });
//     report_bytes("row_sum 4096x4096 f16", us, bytes);
//   }
//
// A measurement is the median of graph replays of many launches between two events; data is normal,
// never zeros; buffers rotate through more than L2 holds, so that memory is what is measured.
// Percentages are of ceilings measured in the same run: a read-only stream of memory, and mma.sync
// from registers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "common/element.cuh"
#include "common/element_type.h"
#include "common/platform.cuh"

namespace komt::bench {

bool register_benchmark(const char* name, void (*body)());

#define KOMT_KERNEL_BENCH(name)                          \
  static void name();                                    \
  [[maybe_unused]] static const bool name##_registered = \
      ::komt::bench::register_benchmark(#name, &name);   \
  static void name()

// Prints what went wrong and marks the run as failed; true when there is nothing wrong.
bool check(cudaError_t error, const char* what);

// Shapes of a toy model and few repetitions, to see that everything runs where speed means nothing.
bool tiny();
// `size`; when tiny about a sixteenth of it, a multiple of 256 as two heads of 128 are.
inline int sized(int size) {
  return tiny() && size >= 1024 ? std::max(256, size / 4096 * 256) : size;
}
// Whether a measurement of this description was asked for.
bool wanted(const std::string& what);

// Launches one repetition, the i-th, on the stream.
using Launch = std::function<cudaError_t(int i, cudaStream_t stream)>;

// Median time of one launch; 0 after an error.
double microseconds(const Launch& launch);

// One line: time, rate and percent of the ceiling. Bytes and FLOPs are of one launch.
void report_bytes(const std::string& what, double microseconds, double bytes);
void report_flops(const std::string& what, double microseconds, double flops);

// Ceilings of this device, measured at first use.
double read_bandwidth();  // bytes a second
double mma_throughput();  // FLOP a second of mma.sync.m16n8k16.f16, float accumulation

std::size_t l2_bytes();

// 0, step, 2 * step, ...
std::vector<std::int32_t> ascending(int count, int step = 1);

namespace detail {
void* allocate_normal(std::size_t count, float deviation, kernels::ElementType type);
void* upload(const void* host, std::size_t bytes);
void release(void* p);
}  // namespace detail

// Device copy of small host data (indices, tables).
template <class T>
class Uploaded {
 public:
  explicit Uploaded(const std::vector<T>& values)
      : data_(static_cast<T*>(detail::upload(values.data(), values.size() * sizeof(T)))) {}
  ~Uploaded() { detail::release(data_); }
  Uploaded(const Uploaded&) = delete;
  Uploaded& operator=(const Uploaded&) = delete;

  T* data() const { return data_; }

 private:
  T* data_;
};

// `count` normally distributed elements, in as many copies as twice L2 takes; at(i) walks through
// them.
template <class T>
class Rotating {
 public:
  explicit Rotating(std::size_t count, float deviation = 1.0f)
      : count_((count + 127) / 128 * 128),
        copies_(2 * l2_bytes() / (count_ * sizeof(T)) + 2),
        data_(static_cast<T*>(detail::allocate_normal(count_ * copies_, deviation, kType))) {}
  ~Rotating() { detail::release(data_); }
  Rotating(const Rotating&) = delete;
  Rotating& operator=(const Rotating&) = delete;

  T* at(int i) const { return data_ + count_ * (std::size_t(i) % copies_); }

 private:
  static constexpr auto kType = std::is_same_v<T, half>       ? kernels::ElementType::f16
                                : std::is_same_v<T, bfloat16> ? kernels::ElementType::bf16
                                                              : kernels::ElementType::f32;
  std::size_t count_;
  std::size_t copies_;
  T* data_;
};

}  // namespace komt::bench
