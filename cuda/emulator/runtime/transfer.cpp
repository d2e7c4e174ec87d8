#include "emulator/runtime/transfer.h"

#include <cstring>

#include "emulator/runtime/device.h"
#include "emulator/runtime/happens_before.h"
#include "emulator/runtime/memory_window.h"
#include "emulator/runtime/report.h"

namespace komt::emulator {

namespace {

bool is_in_allocation(const void* p, std::size_t bytes, const char* what) {
  if (bytes == 0) return true;
  const int owner = device_of(p);
  if (owner >= 0) {
    const auto allocation = device(owner).memory.find(p);
    const auto* begin = static_cast<const unsigned char*>(p);
    if (allocation && begin + bytes <= allocation->begin + allocation->bytes) return true;
    report(Check::kOutOfBounds, kNowhere,
           "%s of %zu bytes at %p of device %d goes beyond any allocation there%s", what, bytes, p,
           owner, allocation ? "" : " (none holds its first byte)");
    return false;
  }
  if (pinned_memory().contains(p) && !pinned_memory().contains(p, bytes)) {
    report(Check::kOutOfBounds, kNowhere, "%s of %zu bytes at %p goes beyond its pinned allocation",
           what, bytes, p);
    return false;
  }
  return true;
}

void open_for(const void* a, const void* b) {
  std::uint32_t devices = 0;
  for (const void* p : {a, b}) {
    if (const int owner = p != nullptr ? device_of(p) : -1; owner >= 0) devices |= 1u << owner;
  }
  open_memory(devices);
}

}  // namespace

bool is_pageable(const void* p) { return device_of(p) < 0 && !pinned_memory().contains(p); }

bool matches_direction(const CopyWork& work, cudaMemcpyKind kind) {
  const bool to_device = device_of(work.destination) >= 0;
  const bool from_device = device_of(work.source) >= 0;
  switch (kind) {
    case cudaMemcpyHostToHost: return !to_device && !from_device;
    case cudaMemcpyHostToDevice: return to_device && !from_device;
    case cudaMemcpyDeviceToHost: return !to_device && from_device;
    case cudaMemcpyDeviceToDevice: return to_device && from_device;
    case cudaMemcpyDefault: return true;
  }
  return false;
}

void begin_transfer(const CopyWork& work) {
  pinned_memory().begin_transfer(work.destination, work.destination_bytes(), true);
  pinned_memory().begin_transfer(work.source, work.source_bytes(), false);
}

void end_transfer(const CopyWork& work) {
  pinned_memory().end_transfer(work.destination, work.destination_bytes(), true);
  pinned_memory().end_transfer(work.source, work.source_bytes(), false);
}

void stage_source(CopyWork& work) {
  work.staged.resize(work.width * work.height);
  for (std::size_t row = 0; row < work.height; ++row) {
    std::memcpy(work.staged.data() + row * work.width,
                static_cast<const unsigned char*>(work.source) + row * work.source_pitch,
                work.width);
  }
}

void carry_out(const CopyWork& work) {
  const bool is_staged = !work.staged.empty();
  if (!is_in_allocation(work.destination, work.destination_bytes(), "a copy to") ||
      (!is_staged && !is_in_allocation(work.source, work.source_bytes(), "a copy from"))) {
    return;
  }
  open_for(work.destination, is_staged ? nullptr : work.source);
  const auto* source =
      is_staged ? work.staged.data() : static_cast<const unsigned char*>(work.source);
  const std::size_t source_pitch = is_staged ? work.width : work.source_pitch;
  auto* destination = static_cast<unsigned char*>(work.destination);
  for (std::size_t row = 0; row < work.height; ++row) {
    std::memmove(destination + row * work.destination_pitch, source + row * source_pitch,
                 work.width);
    if (race_detection_enabled) {
      mark_copied(destination + row * work.destination_pitch, source + row * source_pitch,
                  work.width);
    }
  }
}

void carry_out(const SetWork& work) {
  if (!is_in_allocation(work.destination, work.bytes, "a memset")) return;
  open_for(work.destination, nullptr);
  std::memset(work.destination, work.value, work.bytes);
  if (race_detection_enabled) mark_written(work.destination, work.bytes);
}

}  // namespace komt::emulator
