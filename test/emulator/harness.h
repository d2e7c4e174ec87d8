// A test is a function that registers itself and runs under every schedule. It fails by EXPECT, or
// by leaving a report of the emulator's behind that it didn't ask for.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "emulator/control.h"

namespace komt::test {

struct Test {
  const char* name;
  void (*run)();
};

std::vector<Test>& tests();
void fail(const char* file, int line, const std::string& message);

struct Registration {
  Registration(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

// Takes the reports and fails unless there is one of this kind (and, if given, with this text).
void expect_report(emulator::Check check, const std::string& text, const char* file, int line);

// In the modes that can't see a planted bug: takes whatever was reported, or nothing.
void ignore_reports();

enum class Mode { kFast, kAsan, kRace };
Mode mode();

}  // namespace komt::test

#define TEST(name)                                                          \
  static void name();                                                       \
  static const ::komt::test::Registration name##_registration(#name, name); \
  static void name()

#define EXPECT(condition)                                                             \
  do {                                                                                \
    if (!(condition)) ::komt::test::fail(__FILE__, __LINE__, "expected " #condition); \
  } while (false)

#define EXPECT_EQ(actual, expected)                                                      \
  do {                                                                                   \
    const auto actual_value = (actual);                                                  \
    const auto expected_value = (expected);                                              \
    if (!(actual_value == expected_value)) {                                             \
      ::komt::test::fail(__FILE__, __LINE__,                                             \
                         #actual " is " + std::to_string(actual_value) + ", expected " + \
                             std::to_string(expected_value));                            \
    }                                                                                    \
  } while (false)

#define EXPECT_OK(call) EXPECT_EQ(static_cast<int>(call), static_cast<int>(cudaSuccess))

#define EXPECT_REPORT(check, text) \
  ::komt::test::expect_report(::komt::emulator::Check::check, text, __FILE__, __LINE__)
