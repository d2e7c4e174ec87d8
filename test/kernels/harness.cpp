// Counts, prints and runs; see harness.h.
#include "harness.h"

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "environment.h"

namespace komt::test {

namespace {

struct Totals {
  long cases = 0;
  long failed = 0;
  long skipped = 0;
};

struct State {
  std::vector<RegisteredTest> tests;
  Totals totals;
  const char* test = "";
  std::uint64_t seed = 0;
};

State& state() {
  static State instance;
  return instance;
}

std::string formatted(const char* format, va_list arguments) {
  char text[512];
  std::vsnprintf(text, sizeof(text), format, arguments);
  return text;
}

void print_failure(const std::string& label, const std::string& message) {
  std::printf("FAIL %s [%s] seed %llu: %s\n", state().test, label.c_str(),
              static_cast<unsigned long long>(state().seed), message.c_str());
}

// Guards hold a pattern that is neither the poison nor a likely result.
constexpr unsigned char kGuardByte = 0xa5;

std::size_t guard_bytes() { return environment::checks_every_access() ? 0 : 256; }

void require(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    report_failure(std::string(what) + ": " + cudaGetErrorString(error));
  }
}

void check_guard(const unsigned char* guard, const char* side) {
  std::vector<unsigned char> bytes(guard_bytes());
  require(cudaMemcpy(bytes.data(), guard, bytes.size(), cudaMemcpyDeviceToHost), "reading a guard");
  const auto bad = std::find_if(bytes.begin(), bytes.end(),
                                [](unsigned char byte) { return byte != kGuardByte; });
  if (bad != bytes.end()) {
    report_failure("written out of bounds: byte " + std::to_string(bad - bytes.begin()) + " " +
                   side + " a buffer");
  }
}

}  // namespace

bool register_test(RegisteredTest test) {
  state().tests.push_back(test);
  return true;
}

std::uint64_t schedule_seed() { return state().seed; }

void report_failure(const std::string& what) {
  ++state().totals.failed;
  print_failure("-", what);
}

Case::Case(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  label_ = formatted(format, arguments);
  va_end(arguments);
}

Case::~Case() {
  Totals& totals = state().totals;
  ++totals.cases;
  if (failed_) {
    ++totals.failed;
  } else if (skipped_) {
    ++totals.skipped;
  }
}

bool Case::ran(cudaError_t launched) {
  const bool started = check(launched == cudaSuccess, "launch: %s", cudaGetErrorString(launched));
  const cudaError_t finished = started ? cudaDeviceSynchronize() : cudaSuccess;
  bool ok = check(finished == cudaSuccess, "execution: %s", cudaGetErrorString(finished)) && started;
  // What the runtime remembers of this failure is not for the next refused() to find.
  if (!ok) cudaGetLastError();
  for (const std::string& finding : environment::take_findings()) {
    fail(finding);
    ok = false;
  }
  return ok;
}

void Case::refused(cudaError_t launched, cudaError_t expected) {
  check(launched == expected, "expected the launcher to answer %s, got %s",
        cudaGetErrorName(expected), cudaGetErrorName(launched));
  const cudaError_t left = cudaGetLastError();
  check(left == cudaSuccess, "a refused launch left %s behind", cudaGetErrorName(left));
}

bool Case::check(bool condition, const char* format, ...) {
  if (condition) return true;
  va_list arguments;
  va_start(arguments, format);
  fail(formatted(format, arguments));
  va_end(arguments);
  return false;
}

void Case::skip(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::printf("skipped %s [%s]: %s\n", state().test, label_.c_str(),
              formatted(format, arguments).c_str());
  va_end(arguments);
  skipped_ = true;
}

void Case::element_failed(const char* what, std::int64_t index, std::int64_t columns, double actual,
                          double expected) {
  char text[256];
  if (columns > 0) {
    std::snprintf(text, sizeof(text), "%s[%lld, %lld] = %.9g, expected %.9g", what,
                  static_cast<long long>(index / columns), static_cast<long long>(index % columns),
                  actual, expected);
  } else {
    std::snprintf(text, sizeof(text), "%s[%lld] = %.9g, expected %.9g", what,
                  static_cast<long long>(index), actual, expected);
  }
  fail(text);
}

bool Case::all_right(const char* what, std::int64_t wrong, std::int64_t of) {
  return check(wrong == 0, "%s: %lld of %lld elements are wrong", what,
               static_cast<long long>(wrong), static_cast<long long>(of));
}

void Case::fail(const std::string& message) {
  failed_ = true;
  print_failure(label_, message);
}

namespace detail {

void* device_allocate(std::size_t bytes) {
  const std::size_t guard = guard_bytes();
  void* base = nullptr;
  // A buffer of no elements still has an address of its own.
  require(cudaMalloc(&base, std::max<std::size_t>(bytes, 1) + 2 * guard), "cudaMalloc");
  auto* bytes_at = static_cast<unsigned char*>(base);
  if (guard > 0) {
    require(cudaMemset(bytes_at, kGuardByte, guard), "writing a guard");
    require(cudaMemset(bytes_at + guard + bytes, kGuardByte, guard), "writing a guard");
  }
  if (!environment::fresh_memory_is_nan()) device_poison(bytes_at + guard, bytes);
  return bytes_at + guard;
}

void device_release(void* p, std::size_t bytes) noexcept {
  const std::size_t guard = guard_bytes();
  auto* at = static_cast<unsigned char*>(p);
  if (guard > 0) {
    check_guard(at - guard, "before");
    check_guard(at + bytes, "after");
  }
  require(cudaFree(at - guard), "cudaFree");
}

void device_upload(void* target, const void* source, std::size_t bytes) {
  if (bytes == 0) return;
  require(cudaMemcpy(target, source, bytes, cudaMemcpyHostToDevice), "upload");
}

void device_download(void* target, const void* source, std::size_t bytes) {
  if (bytes == 0) return;
  require(cudaMemcpy(target, source, bytes, cudaMemcpyDeviceToHost), "download");
}

void device_poison(void* p, std::size_t bytes) {
  if (bytes == 0) return;
  require(cudaMemset(p, 0xff, bytes), "poisoning");
}

}  // namespace detail

namespace {

struct Options {
  int seeds = 0;  // 0: as many as the environment asks for
  std::string filter;
  std::string exclude;
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--seeds" && i + 1 < argc) {
      options.seeds = std::atoi(argv[++i]);
    } else if (argument == "--filter" && i + 1 < argc) {
      options.filter = argv[++i];
    } else if (argument == "--exclude" && i + 1 < argc) {
      options.exclude = argv[++i];
    } else {
      std::fprintf(stderr,
                   "usage: %s [--seeds COUNT] [--filter PART_OF_A_TEST_NAME] "
                   "[--exclude PART_OF_A_TEST_NAME]\n",
                   argv[0]);
      return false;
    }
  }
  return true;
}

int run_all(const Options& options) {
  const std::string unavailable = environment::why_unavailable();
  if (!unavailable.empty()) {
    std::printf("%s: kernel tests skipped\n0 passed, 0 failed\n", unavailable.c_str());
    return 0;
  }
  std::vector<RegisteredTest> tests = state().tests;
  std::sort(tests.begin(), tests.end(), [](const RegisteredTest& a, const RegisteredTest& b) {
    const int file = std::strcmp(a.file, b.file);
    return file != 0 ? file < 0 : std::strcmp(a.name, b.name) < 0;
  });
  std::erase_if(tests, [&](const RegisteredTest& test) {
    const std::string_view name = test.name;
    const bool excluded =
        !options.exclude.empty() && name.find(options.exclude) != std::string_view::npos;
    return excluded || name.find(options.filter) == std::string_view::npos;
  });
  if (tests.empty()) {
    std::printf("no test's name contains '%s'\n", options.filter.c_str());
    return 1;
  }

  const int seeds = options.seeds > 0 ? options.seeds : environment::default_seeds();
  const auto start = std::chrono::steady_clock::now();
  for (const RegisteredTest& test : tests) {
    const auto test_start = std::chrono::steady_clock::now();
    const long cases_before = state().totals.cases;
    const long failed_before = state().totals.failed;
    state().test = test.name;
    for (int seed = 0; seed < seeds; ++seed) {
      state().seed = std::uint64_t(seed);
      environment::begin_schedule(std::uint64_t(seed));
      test.body();
      for (const std::string& finding : environment::take_findings()) report_failure(finding);
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - test_start;
    std::printf("%-4s %-44s %5ld cases %7.2f s\n",
                state().totals.failed == failed_before ? "ok" : "FAIL", test.name,
                state().totals.cases - cases_before, took.count());
    std::fflush(stdout);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;

  const Totals& totals = state().totals;
  const long passed = std::max(totals.cases - totals.skipped - totals.failed, 0L);
  std::printf(
      "{\"suite\": \"kernels\", \"environment\": \"%s\", \"seeds\": %d, \"tests\": %zu, "
      "\"cases\": %ld, \"passed\": %ld, \"failed\": %ld, \"skipped\": %ld, %s\"seconds\": %.1f}\n",
      environment::name().c_str(), seeds, tests.size(), totals.cases, passed, totals.failed,
      totals.skipped, environment::summary_fields().c_str(), took.count());
  std::printf("%ld passed, %ld failed\n", passed, totals.failed);
  return totals.failed == 0 ? 0 : 1;
}

}  // namespace

}  // namespace komt::test

int main(int argc, char** argv) {
  komt::test::Options options;
  if (!komt::test::parse(argc, argv, options)) return 2;
  return komt::test::run_all(options);
}
