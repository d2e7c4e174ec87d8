// What every kernel test is written with: device buffers with poison and guards, normally
// distributed data, comparison with a float64 reference, counting of cases.
//
//   KOMT_KERNEL_TEST(rms_norm_rows) {
//     for (int dim : {8, 256, 1001}) {
//       Case c("dim=%d", dim);
//       Random random(dim);
//       const auto x = random.normal<half>(dim);
//       DeviceBuffer<half> input(x), output(dim);             // output is poisoned with NaN
//       if (!c.ran(rms_norm(input.data(), output.data(), dim, nullptr))) continue;
//       c.close("output", output.host(), reference(x), rounding<half>());
//     }
//   }
//
// The same file runs under the emulator, once for each schedule seed, and on a device.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "common/element.cuh"
#include "common/element_type.h"
#include "common/platform.cuh"

#if defined(__GNUC__)
#define KOMT_PRINTF_LIKE(string_index, first) __attribute__((format(printf, string_index, first)))
#else
#define KOMT_PRINTF_LIKE(string_index, first)
#endif

namespace komt::test {

struct RegisteredTest {
  const char* name;
  const char* file;
  void (*body)();
};
// Called by KOMT_KERNEL_TEST before main; the order of files is that of their names.
bool register_test(RegisteredTest test);

#define KOMT_KERNEL_TEST(test_name)                                    \
  static void test_name();                                             \
  [[maybe_unused]] static const bool test_name##_registered =          \
      ::komt::test::register_test({#test_name, __FILE__, &test_name}); \
  static void test_name()

// Seed of the schedule that the test runs under; 0 on a device. Tests that are expensive may do
// less when it isn't 0, but have to touch every kernel under every seed.
std::uint64_t schedule_seed();

// A failure that belongs to no case (a guard overwritten, an allocation refused).
void report_failure(const std::string& what);

// |actual - expected| <= absolute + relative * |expected|; what is expected to be finite must be.
struct Tolerance {
  double absolute = 0;
  double relative = 0;
};

// Rounding once to T: half an ulp, doubled, since the value that is rounded has errors of its own.
template <class T>
constexpr Tolerance rounding() {
  if constexpr (std::is_same_v<T, half>) return {6e-8, 0x1p-10};
  if constexpr (std::is_same_v<T, bfloat16>) return {1e-37, 0x1p-7};
  return {1e-37, 0x1p-22};
}

// A dot product of `k` terms, factors normal with deviations whose product is `scale`, accumulated
// in float and rounded to T. The result is about scale * sqrt(k), and so is the unit of the errors.
//
// Tensor cores add a block of products and the accumulator in fixed point, aligned to the largest of
// them, and round toward zero: blocks of 8 with one bit below float's on sm_80, of 16 with two on
// sm_90 (Fasi et al., "Numerical behavior of NVIDIA tensor cores", 2021; Khattak and Mikaitis,
// "Accurate models of NVIDIA tensor cores", 2025). Truncation is biased, so the error grows with the
// number of blocks: by half an ulp of the accumulator each, which comes to k / 8 * 2^-23 of the unit
// where the result is five times the unit. Twice that is allowed; models of both, and of blocks of 4
// without a spare bit, stay below 30% of it for k from 64 to 11,008. At 4,096 terms it is 1.2e-4 of
// the unit, where one term is 1.6e-2 of it.
template <class T>
Tolerance dot_product(int k, double scale = 1.0) {
  Tolerance t = rounding<T>();
  t.absolute += scale * std::sqrt(double(k)) * (2e-6 + k / 8.0 * 0x1p-22);
  return t;
}

// One input to a kernel and what is checked of it. Failures are printed as they are found, the
// first few elements of each; the case counts as failed once.
class Case {
 public:
  explicit Case(const char* format, ...) KOMT_PRINTF_LIKE(2, 3);
  ~Case();
  Case(const Case&) = delete;
  Case& operator=(const Case&) = delete;

  // Takes what the launcher returned, waits for the device and collects what the emulator found.
  // False (and the case failed) unless all is well.
  bool ran(cudaError_t launched);
  // The launcher has to refuse with `expected` and leave no error behind.
  void refused(cudaError_t launched, cudaError_t expected = cudaErrorInvalidValue);

  bool check(bool condition, const char* format, ...) KOMT_PRINTF_LIKE(3, 4);

  // Values (any element type, or double) against the reference; `columns` only words the message.
  template <class T, class R>
  bool close(const char* what, const std::vector<T>& actual, const std::vector<R>& expected,
             Tolerance tolerance, std::int64_t columns = 0) {
    if (!check(actual.size() == expected.size(), "%s: %zu elements, expected %zu", what,
               actual.size(), expected.size())) {
      return false;
    }
    std::int64_t wrong = 0;
    for (std::size_t i = 0; i < actual.size(); ++i) {
      const double a = as_double(actual[i]);
      const double e = as_double(expected[i]);
      const bool ok = std::isfinite(e)
                          ? std::abs(a - e) <= tolerance.absolute + tolerance.relative * std::abs(e)
                          : (std::isnan(e) ? std::isnan(a) : a == e);
      if (!ok && ++wrong <= kShown) element_failed(what, std::int64_t(i), columns, a, e);
    }
    return all_right(what, wrong, std::int64_t(actual.size()));
  }

  // Bit for bit; NaNs with equal bits are equal.
  template <class T>
  bool identical(const char* what, const std::vector<T>& actual, const std::vector<T>& expected,
                 std::int64_t columns = 0) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (!check(actual.size() == expected.size(), "%s: %zu elements, expected %zu", what,
               actual.size(), expected.size())) {
      return false;
    }
    std::int64_t wrong = 0;
    for (std::size_t i = 0; i < actual.size(); ++i) {
      if (std::memcmp(&actual[i], &expected[i], sizeof(T)) == 0) continue;
      if (++wrong <= kShown) {
        element_failed(what, std::int64_t(i), columns, as_double(actual[i]),
                       as_double(expected[i]));
      }
    }
    return all_right(what, wrong, std::int64_t(actual.size()));
  }

  // Counts the case as skipped and prints why.
  void skip(const char* format, ...) KOMT_PRINTF_LIKE(2, 3);

 private:
  static constexpr std::int64_t kShown = 3;

  template <class T>
  static double as_double(T x) {
    if constexpr (std::is_same_v<T, half> || std::is_same_v<T, bfloat16>) {
      return double(to_float(x));
    } else {
      return double(x);
    }
  }
  void element_failed(const char* what, std::int64_t index, std::int64_t columns, double actual,
                      double expected);
  bool all_right(const char* what, std::int64_t wrong, std::int64_t of);
  void fail(const std::string& message);

  std::string label_;
  bool failed_ = false;
  bool skipped_ = false;
};

// Normally distributed host data; the same on every platform and in every run.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed * 0x9e3779b97f4a7c15u + 1) {}

  double normal() {
    // Box-Muller, because std::normal_distribution differs between standard libraries.
    const double u = (double(engine_() >> 11) + 0.5) * 0x1p-53;
    const double v = double(engine_() >> 11) * 0x1p-53;
    return std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v);
  }
  // From 0 to bound - 1.
  std::uint64_t below(std::uint64_t bound) { return engine_() % bound; }

  template <class T>
  std::vector<T> normal(std::size_t count, double deviation = 1.0, double mean = 0.0) {
    std::vector<T> values(count);
    for (T& x : values) x = from_float<T>(float(mean + deviation * normal()));
    return values;
  }
  // 0 to count - 1 in random order.
  std::vector<std::int32_t> permutation(std::int32_t count) {
    std::vector<std::int32_t> values(count);
    for (std::int32_t i = 0; i < count; ++i) {
      const auto j = std::int32_t(below(std::uint64_t(i) + 1));
      values[i] = values[j];
      values[j] = i;
    }
    return values;
  }

 private:
  std::mt19937_64 engine_;
};

namespace detail {
void* device_allocate(std::size_t bytes);  // poisoned: every byte 0xff, a NaN in all float types
void device_release(void* p, std::size_t bytes) noexcept;
void device_upload(void* target, const void* source, std::size_t bytes);
void device_download(void* target, const void* source, std::size_t bytes);
void device_poison(void* p, std::size_t bytes);
}  // namespace detail

// `count` elements of device memory, aligned to 256 bytes, with guards on both sides that are
// checked when it is freed (where the emulator checks every access itself there are none). Without
// contents it is poisoned.
template <class T>
class DeviceBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit DeviceBuffer(std::size_t count)
      : count_(count), data_(static_cast<T*>(detail::device_allocate(count * sizeof(T)))) {}
  explicit DeviceBuffer(const std::vector<T>& values) : DeviceBuffer(values.size()) {
    upload(values);
  }
  ~DeviceBuffer() { detail::device_release(data_, count_ * sizeof(T)); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return count_; }

  void upload(const std::vector<T>& values) {
    detail::device_upload(data_, values.data(), values.size() * sizeof(T));
  }
  void poison() { detail::device_poison(data_, count_ * sizeof(T)); }
  std::vector<T> host() const {
    std::vector<T> values(count_);
    detail::device_download(values.data(), data_, count_ * sizeof(T));
    return values;
  }

 private:
  std::size_t count_;
  T* data_;
};

template <class T>
constexpr kernels::ElementType element_type() {
  if constexpr (std::is_same_v<T, half>) return kernels::ElementType::f16;
  if constexpr (std::is_same_v<T, bfloat16>) return kernels::ElementType::bf16;
  if constexpr (std::is_same_v<T, double>) return kernels::ElementType::f64;
  return kernels::ElementType::f32;
}

template <class T>
constexpr const char* type_name() {
  if constexpr (std::is_same_v<T, half>) return "f16";
  if constexpr (std::is_same_v<T, bfloat16>) return "bf16";
  if constexpr (std::is_same_v<T, double>) return "f64";
  return "f32";
}

}  // namespace komt::test
