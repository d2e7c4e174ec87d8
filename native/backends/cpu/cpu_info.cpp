#include "backends/cpu/cpu_info.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#if defined(_WIN32)
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#elif defined(__APPLE__)
#include <mach/mach.h>
#include <sys/sysctl.h>
#else
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#endif
#endif

#if defined(__x86_64__) || defined(_M_X64)
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace komt::cpu {
namespace {

#if defined(__x86_64__) || defined(_M_X64)
struct CpuidResult {
  unsigned a, b, c, d;
};

CpuidResult cpuid(unsigned leaf) {
#if defined(_MSC_VER)
  int r[4];
  __cpuid(r, 0);
  if (unsigned(r[0]) < leaf) return {};
  __cpuidex(r, int(leaf), 0);
  return {unsigned(r[0]), unsigned(r[1]), unsigned(r[2]), unsigned(r[3])};
#else
  CpuidResult r{};
  if (!__get_cpuid_count(leaf, 0, &r.a, &r.b, &r.c, &r.d)) return {};
  return r;
#endif
}

/// Register states the operating system saves on a switch (XCR0); 0 without XSAVE.
unsigned saved_states() {
  if (!(cpuid(1).c >> 27 & 1u)) return 0;
#if defined(_MSC_VER)
  return unsigned(_xgetbv(0));
#else
  unsigned low, high;
  __asm__ __volatile__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
#endif
}
#endif

#if defined(__linux__)
std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// Bytes of a control group's file; UINT64_MAX for "max" or no such file.
uint64_t cgroup_bytes(const char* path) {
  unsigned long long value;
  return std::sscanf(first_line(path).c_str(), "%llu", &value) == 1 ? value : UINT64_MAX;
}

int quota_cores() {
  long long quota, period;
  if (std::sscanf(first_line("/sys/fs/cgroup/cpu.max").c_str(), "%lld %lld", &quota, &period) == 2 &&
      quota > 0 && period > 0)
    return int(std::max(1LL, quota / period));
  return 1 << 16;
}
#endif

}  // namespace

bool has_avx2() {
#if defined(__x86_64__) || defined(_M_X64)
  const unsigned c = cpuid(1).c;
  const bool fma = c >> 12 & 1u, f16c = c >> 29 & 1u, avx2 = cpuid(7).b >> 5 & 1u;
  return fma && f16c && avx2 && (saved_states() & 0x6u) == 0x6u;
#else
  return false;
#endif
}

bool has_avx512() {
#if defined(__x86_64__) || defined(_M_X64)
  const unsigned b = cpuid(7).b;
  const bool f = b >> 16 & 1u, dq = b >> 17 & 1u, bw = b >> 30 & 1u, vl = b >> 31 & 1u;
  return has_avx2() && f && dq && bw && vl && (saved_states() & 0xe6u) == 0xe6u;
#else
  return false;
#endif
}

int usable_cores() {
#if defined(__linux__)
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    // Threads of one core name the same siblings.
    std::set<std::string> cores;
    for (int i = 0; i < CPU_SETSIZE; ++i) {
      if (!CPU_ISSET(i, &allowed)) continue;
      const std::string cpu = std::to_string(i);
      const std::string siblings = first_line("/sys/devices/system/cpu/cpu" + cpu +
                                              "/topology/thread_siblings_list");
      cores.insert(siblings.empty() ? "cpu" + cpu : siblings);
    }
    return std::max(1, std::min(int(cores.size()), quota_cores()));
  }
#elif defined(__APPLE__)
  int cores = 0;
  size_t size = sizeof cores;
  // Performance cores where the machine has two kinds.
  if (sysctlbyname("hw.perflevel0.physicalcpu", &cores, &size, nullptr, 0) == 0 && cores > 0)
    return cores;
  size = sizeof cores;
  if (sysctlbyname("hw.physicalcpu", &cores, &size, nullptr, 0) == 0 && cores > 0) return cores;
#endif
  return int(std::max(1u, std::thread::hardware_concurrency()));
}

MemoryInfo host_memory() {
  MemoryInfo info;
#if defined(_WIN32)
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof status;
  if (GlobalMemoryStatusEx(&status)) {
    info.total = status.ullTotalPhys;
    info.free = status.ullAvailPhys;
  }
#elif defined(__APPLE__)
  uint64_t total = 0;
  size_t size = sizeof total;
  if (sysctlbyname("hw.memsize", &total, &size, nullptr, 0) == 0) info.total = total;
  vm_statistics64_data_t vm{};
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  if (host_statistics64(mach_host_self(), HOST_VM_INFO64, host_info64_t(&vm), &count) ==
      KERN_SUCCESS)
    info.free = (uint64_t(vm.free_count) + vm.inactive_count + vm.purgeable_count) * vm_page_size;
#else
  const uint64_t page = uint64_t(sysconf(_SC_PAGESIZE));
  info.total = uint64_t(sysconf(_SC_PHYS_PAGES)) * page;
#if defined(__linux__)
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    unsigned long long kib;
    if (std::sscanf(line.c_str(), "MemAvailable: %llu kB", &kib) == 1) info.free = kib * 1024;
  }
  const uint64_t limit = cgroup_bytes("/sys/fs/cgroup/memory.max");
  const uint64_t used = cgroup_bytes("/sys/fs/cgroup/memory.current");
  if (limit < info.total) {
    info.total = limit;
    info.free = std::min(info.free, limit - std::min(limit, used));
  }
#else
  info.free = info.total;
#endif
#endif
  return info;
}

}  // namespace komt::cpu
