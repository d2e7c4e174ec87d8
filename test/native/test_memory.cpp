// Allocation, options and their errors.
#include <cstdint>
#include <functional>

#include "engine/error.h"
#include "support.h"

namespace komt::test {
namespace {

const Error* caught(const std::function<void()>& call, std::unique_ptr<Error>& holder) {
  try {
    call();
  } catch (const Error& e) {
    holder = std::make_unique<Error>(e);
  }
  return holder.get();
}

TEST("allocate: aligned, writable, and typed errors for what cannot be had") {
  auto backend = create_cpu_backend({1, ""});
  for (const size_t bytes : {size_t(0), size_t(1), size_t(255), size_t(4097), size_t(20) << 20}) {
    const auto buffer = backend->allocate(bytes, "a test");
    CHECK(reinterpret_cast<uintptr_t>(buffer->data()) % 256 == 0);
    CHECK(buffer->bytes() == bytes);
    backend->fill_zero(buffer->data(), bytes);
  }
  for (const size_t bytes : {size_t(1) << 46, size_t(1) << 62, SIZE_MAX}) {
    std::unique_ptr<Error> holder;
    const Error* e = caught([&] { (void)backend->allocate(bytes, "the cache of keys"); }, holder);
    CHECK(e && e->kind() == ErrorKind::out_of_memory);
    CHECK(e && e->bytes_needed() == bytes && e->bytes_free() > 0);
    CHECK(e && std::string(e->what()).find("the cache of keys") != std::string::npos);
  }
  std::unique_ptr<Error> holder;
  const Error* e = caught(
      [&] { (void)backend->create_weight(DType::f32, int64_t(1) << 40, int64_t(1) << 40, "w"); },
      holder);
  CHECK(e && e->kind() == ErrorKind::out_of_memory);
}

TEST("memory: what the machine has") {
  const MemoryInfo memory = create_cpu_backend({1, ""})->memory();
  CHECK(memory.total >= memory.free && memory.free > (1u << 20));
}

TEST("options: instruction sets by name, weights of the types there are") {
  std::unique_ptr<Error> holder;
  const Error* e = caught([] { (void)create_cpu_backend({1, "mmx"}); }, holder);
  CHECK(e && e->kind() == ErrorKind::invalid_argument);
  CHECK(e && std::string(e->what()).find("mmx") != std::string::npos);
  auto backend = create_cpu_backend({0, ""});
  CHECK(backend->name() == "cpu");
  holder.reset();
  e = caught([&] { (void)backend->create_weight(DType::f64, 2, 2, "w"); }, holder);
  CHECK(e && e->kind() == ErrorKind::invalid_argument);
  CHECK(cpu::usable_cores() >= 1);
}

}  // namespace
}  // namespace komt::test
