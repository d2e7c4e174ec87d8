#pragma once
#include <cstdint>
#include <string>

namespace komt {

/// A file opened for positioned reads; thread-safe, closed on destruction.
class File {
 public:
  /// Throws a checkpoint error naming the file.
  explicit File(const std::string& path);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  /// Reads exactly `bytes` at `offset`; a short read throws a checkpoint error naming file and tensor.
  void read(void* target, size_t bytes, uint64_t offset, const std::string& tensor) const;

 private:
  std::string path_;
#ifdef _WIN32
  void* handle_;
#else
  int descriptor_;
#endif
};

}  // namespace komt
