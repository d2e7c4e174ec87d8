#include "engine/file.h"

#include <algorithm>

#include "engine/error.h"

#ifdef _WIN32
#define NOMINMAX
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#endif

namespace komt {

namespace {
[[noreturn]] void fail(const std::string& what, const std::string& path, const std::string& tensor) {
  throw Error::checkpoint(what + " [" + path + "]", path, tensor);
}
}  // namespace

#ifdef _WIN32

File::File(const std::string& path) : path_(path) {
  const int length = MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, nullptr, 0);
  std::wstring wide(size_t(length), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, wide.data(), length);
  handle_ = CreateFileW(wide.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING,
                        FILE_ATTRIBUTE_NORMAL, nullptr);
  if (handle_ == INVALID_HANDLE_VALUE) fail("Cannot open the weight file", path, "");
}

File::~File() { CloseHandle(handle_); }

void File::read(void* target, size_t bytes, uint64_t offset, const std::string& tensor) const {
  auto* out = static_cast<char*>(target);
  while (bytes > 0) {
    OVERLAPPED at{};
    at.Offset = DWORD(offset);
    at.OffsetHigh = DWORD(offset >> 32);
    DWORD got = 0;
    const DWORD want = DWORD(std::min<size_t>(bytes, 1u << 30));
    if (!ReadFile(handle_, out, want, &got, &at) || got == 0) {
      fail("The file ends inside tensor " + tensor + ": it is truncated. Download it again", path_, tensor);
    }
    out += got;
    offset += got;
    bytes -= got;
  }
}

#else

// Without O_NONBLOCK, opening a pipe waits for its writer. On regular files it changes nothing.
File::File(const std::string& path)
    : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (descriptor_ < 0) {
    fail(std::string("Cannot open the weight file: ") + std::strerror(errno), path, "");
  }
  struct stat status{};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    fail("The weight file is not a regular file", path, "");
  }
}

File::~File() { ::close(descriptor_); }

void File::read(void* target, size_t bytes, uint64_t offset, const std::string& tensor) const {
  auto* out = static_cast<char*>(target);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, out, std::min<size_t>(bytes, 1u << 30), off_t(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      fail("Reading tensor " + tensor + " failed: " + std::strerror(errno), path_, tensor);
    }
    if (got == 0) {
      fail("The file ends inside tensor " + tensor + ": it is truncated. Download it again", path_, tensor);
    }
    out += got;
    offset += uint64_t(got);
    bytes -= size_t(got);
  }
}

#endif

}  // namespace komt
