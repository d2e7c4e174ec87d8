#include "harness.h"

#include <cstdlib>
#include <cstring>
#include <exception>

#include "emulator/runtime_api.h"

namespace komt::test {

namespace {

int failures = 0;
int expected_reports = 0;
const char* running = "";

}  // namespace

std::vector<Test>& tests() {
  static std::vector<Test> tests;
  return tests;
}

void fail(const char* file, int line, const std::string& message) {
  ++failures;
  std::printf("FAIL %s (seed %llu) %s:%d: %s\n", running,
              static_cast<unsigned long long>(emulator::seed()), file, line, message.c_str());
}

void expect_report(emulator::Check check, const std::string& text, const char* file, int line) {
  cudaDeviceSynchronize();
  std::string found;
  for (const emulator::Report& report : emulator::take_reports()) {
    if (report.check == check && report.message.find(text) != std::string::npos) {
      ++expected_reports;
      return;
    }
    found += "\n    " + std::string(emulator::check_name(report.check)) + ": " + report.message;
  }
  fail(file, line,
       std::string("expected a report of ") + emulator::check_name(check) + " with \"" + text +
           "\", found" + (found.empty() ? " none" : found));
}

void ignore_reports() {
  cudaDeviceSynchronize();
  emulator::take_reports();
}

Mode mode() {
#if defined(__SANITIZE_ADDRESS__)
  return Mode::kAsan;
#else
  return emulator::race_detection() ? Mode::kRace : Mode::kFast;
#endif
}

}  // namespace komt::test

// usage: emulator_test [part of a test's name [number of seeds]]
int main(int argc, char** argv) {
  using namespace komt;
  const char* filter = argc > 1 ? argv[1] : "";
  const int seeds = argc > 2 ? std::atoi(argv[2]) : 4;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  int cases = 0;
  for (const test::Test& test : test::tests()) {
    if (std::strstr(test.name, filter) == nullptr) continue;
    for (int seed = 0; seed < seeds; ++seed) {
      test::running = test.name;
      emulator::set_seed(static_cast<std::uint64_t>(seed));
      test.run();
      cudaDeviceSynchronize();
      for (const emulator::Report& report : emulator::take_reports()) {
        test::fail("(emulator)", 0, report.message);
      }
      cudaGetLastError();
      ++cases;
    }
  }
  const char* modes[] = {"fast", "asan", "race"};
  std::printf("emulator, %s build: %d cases (%d seeds), %d planted bugs caught, %d failures\n",
              modes[static_cast<int>(test::mode())], cases, seeds, test::expected_reports,
              test::failures);
  return test::failures == 0 && cases > 0 ? 0 : 1;
}
