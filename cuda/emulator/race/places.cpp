#include "emulator/race/places.h"

#include <cstdlib>
#include <deque>
#include <string>
#include <unordered_map>
#include <utility>

#include "emulator/runtime/symbols.h"

namespace komt::emulator {

namespace {

struct KnownPlace {
  const void* return_address;
  SourceLocation where;
  std::string file;
};

struct Places {
  std::deque<KnownPlace> all;
  std::unordered_map<const void*, Place> by_address;
  std::unordered_map<std::uint64_t, Place> by_line;
};

Places& places() {
  static auto* places = new Places;
  return *places;
}

}  // namespace

Place place_of(const void* return_address) {
  // Loops come back to the same few addresses.
  struct Recent {
    const void* address;
    Place place;
  };
  static Recent recent[256];
  Recent& slot = recent[reinterpret_cast<std::uintptr_t>(return_address) / 4 % 256];
  if (slot.address == return_address) return slot.place;
  auto [found, is_new] =
      places().by_address.try_emplace(return_address, static_cast<Place>(places().all.size()));
  if (is_new) places().all.push_back({return_address, {}, {}});
  slot = {return_address, found->second};
  return found->second;
}

Place place_of(SourceLocation where) {
  const std::uint64_t key =
      reinterpret_cast<std::uintptr_t>(where.file) * 0x9e3779b97f4a7c15ull ^ where.line;
  auto [found, is_new] = places().by_line.try_emplace(key, static_cast<Place>(places().all.size()));
  if (is_new) places().all.push_back({nullptr, where, {}});
  return found->second;
}

SourceLocation source_of(Place place) {
  KnownPlace& known = places().all[place];
  if (known.where.file == nullptr) {
    known.file = source_line(known.return_address);
    int line = 0;
    if (const auto colon = known.file.rfind(':'); colon != std::string::npos) {
      line = std::atoi(known.file.c_str() + colon + 1);
      known.file.resize(colon);
    }
    known.where = {known.file.c_str(), line};
  }
  return known.where;
}

}  // namespace komt::emulator
