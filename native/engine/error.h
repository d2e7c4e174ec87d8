#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace komt {

/// What a failure is about; the addon maps each kind to one error class of the library.
enum class ErrorKind {
  invalid_argument,  ///< the caller passed something that cannot be meant
  checkpoint,        ///< a weight file is damaged or does not fit the model
  out_of_memory,     ///< `bytes_needed` could not be had
  device,            ///< a device is absent or reported a failure
  disposed,          ///< use after dispose
  aborted,           ///< ended by the caller
  internal,          ///< a bug of ours
};

/// The one exception type the engine throws. The message says what, expected, found and the remedy.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}

  static Error out_of_memory(const std::string& message, uint64_t needed, uint64_t free) {
    Error e(ErrorKind::out_of_memory, message);
    e.bytes_needed_ = needed;
    e.bytes_free_ = free;
    return e;
  }
  /// A checkpoint error with the file and tensor it is about.
  static Error checkpoint(const std::string& message, std::string file, std::string tensor) {
    Error e(ErrorKind::checkpoint, message);
    e.file_ = std::move(file);
    e.subject_ = std::move(tensor);
    return e;
  }

  ErrorKind kind() const { return kind_; }
  uint64_t bytes_needed() const { return bytes_needed_; }
  uint64_t bytes_free() const { return bytes_free_; }
  const std::string& file() const { return file_; }
  const std::string& subject() const { return subject_; }

 private:
  ErrorKind kind_;
  uint64_t bytes_needed_ = 0;
  uint64_t bytes_free_ = 0;
  std::string file_;
  std::string subject_;
};

}  // namespace komt
