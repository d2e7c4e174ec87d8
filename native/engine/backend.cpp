#include "engine/backend.h"

#include <utility>

#include "engine/error.h"

namespace komt {

namespace {

/// A download that was done before it was asked for.
class FinishedReadback : public Readback {
 public:
  explicit FinishedReadback(std::vector<char> bytes) : bytes_(std::move(bytes)) {}
  const void* wait() override { return bytes_.data(); }

 private:
  std::vector<char> bytes_;
};

}  // namespace

std::unique_ptr<Readback> Backend::read_back(const void* source, size_t bytes) {
  std::vector<char> copy(bytes);
  download(copy.data(), source, bytes);
  return std::make_unique<FinishedReadback>(std::move(copy));
}

std::unique_ptr<TokenRing> Backend::create_token_ring(int) {
  throw Error(ErrorKind::internal, name() + " has no token ring");
}

void Backend::advance(const AdvanceArgs&) {
  throw Error(ErrorKind::internal, name() + " does not advance batches by itself");
}

std::unique_ptr<Graph> Backend::capture(const std::function<void()>&) { return nullptr; }

}  // namespace komt
