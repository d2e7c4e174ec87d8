// fstat by its system call. Before glibc 2.33 it is no function of libc.so, and zig's stand-in keeps an errno
// of its own in the thread's storage, at a fixed place that a library which is loaded later may not get:
// "cannot allocate memory in static TLS block". On x86-64 the kernel's structure is glibc's.
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static_assert(sizeof(struct stat) == 144);

extern "C" int fstat(int file, struct stat* status) noexcept {
  return int(syscall(SYS_fstat, file, status));
}
