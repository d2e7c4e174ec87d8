#pragma once
// Allocations and thread starts that fail on demand: faults.cpp replaces operator new and stands in front
// of pthread_create, for this whole program.
#include <cstdint>

namespace komt::test {

/// The two things that may fail.
enum class Fault { allocation, thread_start };

/// The n-th one from now fails, in whichever thread; 0: none. Returns how many there have been since the
/// last call. Threads that hold an Exempt neither count nor fail.
uint64_t inject(Fault fault, uint64_t n);

/// While it lives, what the current thread does is the test's own affair.
class Exempt {
 public:
  Exempt() { ++depth(); }
  ~Exempt() { --depth(); }
  Exempt(const Exempt&) = delete;
  Exempt& operator=(const Exempt&) = delete;
  static int& depth();
};

/// Takes the exemption back for a call into the engine.
class Exposed {
 public:
  Exposed() : before_(Exempt::depth()) { Exempt::depth() = 0; }
  ~Exposed() { Exempt::depth() = before_; }
  Exposed(const Exposed&) = delete;
  Exposed& operator=(const Exposed&) = delete;

 private:
  int before_;
};

}  // namespace komt::test
