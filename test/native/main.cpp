// Runs the registered cases whose name contains the argument, all without one.
#include <chrono>
#include <cstring>
#include <exception>

#include "check.h"

int main(int argc, char** argv) {
  using namespace komt::test;
  int passed = 0, failed = 0, skipped = 0;
  for (const Case& c : cases()) {
    if (argc > 1 && !std::strstr(c.name, argv[1])) continue;
    outcome() = {};
    const auto start = std::chrono::steady_clock::now();
    try {
      c.body();
    } catch (const std::exception& e) {
      record(false, c.name, 0, std::string("threw: ") + e.what());
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const Outcome& o = outcome();
    if (o.checks == 0) {
      // Nothing checked without a reason is a broken test.
      const bool excused = !o.skipped.empty();
      std::printf("%s %s: %s\n", excused ? "skip" : "FAIL", c.name,
                  excused ? o.skipped.c_str() : "checked nothing");
      excused ? ++skipped : ++failed;
      continue;
    }
    o.failures ? ++failed : ++passed;
    std::printf("%s %s (%d checks, %.2f s)%s%s\n", o.failures ? "FAIL" : "ok  ", c.name, o.checks,
                seconds.count(), o.skipped.empty() ? "" : "; without ", o.skipped.c_str());
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
  return failed || passed + skipped == 0 ? 1 : 0;
}
