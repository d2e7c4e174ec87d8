#pragma once
// What the native tests are written with: TEST registers a case, CHECK* record failures and go on.
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace komt::test {

struct Case {
  const char* name;
  void (*body)();
};
inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}
struct Registration {
  Registration(const char* name, void (*body)()) { cases().push_back({name, body}); }
};

/// Of the case that runs.
struct Outcome {
  int checks = 0;
  int failures = 0;
  std::string skipped;  ///< why, when nothing could be checked
};
inline Outcome& outcome() {
  static Outcome current;
  return current;
}

inline void record(bool ok, const char* file, int line, const std::string& what) {
  Outcome& o = outcome();
  ++o.checks;
  if (ok) return;
  // The first few tell; a broken kernel would print thousands.
  if (++o.failures <= 5) std::printf("  %s:%d: %s\n", file, line, what.c_str());
}

}  // namespace komt::test

#define KOMT_TEST_CONCAT2(a, b) a##b
#define KOMT_TEST_CONCAT(a, b) KOMT_TEST_CONCAT2(a, b)
#define TEST(name)                                                                       \
  static void KOMT_TEST_CONCAT(test_body_, __LINE__)();                                  \
  static const ::komt::test::Registration KOMT_TEST_CONCAT(test_registration_, __LINE__)( \
      name, KOMT_TEST_CONCAT(test_body_, __LINE__));                                     \
  static void KOMT_TEST_CONCAT(test_body_, __LINE__)()

#define CHECK(condition) CHECK_THAT(condition, #condition)
/// `what` is evaluated on failure only.
#define CHECK_THAT(condition, what)                                                            \
  do {                                                                                         \
    const bool check_ok = (condition);                                                         \
    ::komt::test::record(check_ok, __FILE__, __LINE__, \
                         check_ok ? std::string() : std::string(what));                        \
  } while (false)
