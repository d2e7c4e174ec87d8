// What the lanes of a warp get from one another (CUDA C++ Programming Guide, warp functions).
#include <bit>

#include "emulator/device/warp.h"
#include "emulator/runtime/report.h"

namespace komt::emulator {

namespace {

template <class Function>
void for_each_lane(unsigned mask, Function function) {
  for (; mask != 0; mask &= mask - 1) function(static_cast<unsigned>(std::countr_zero(mask)));
}

}  // namespace

void shuffle(void* const* arguments, unsigned mask) {
  for_each_lane(mask, [&](unsigned lane) {
    auto* argument = static_cast<ShuffleArgument*>(arguments[lane]);
    if (mask >> argument->source & 1) {
      argument->result = static_cast<ShuffleArgument*>(arguments[argument->source])->value;
    } else {
      report(Check::kCollective, kNowhere,
             "lane %u shuffles from lane %u, which takes no part (mask %08x)", lane,
             argument->source, mask);
      argument->result = ~std::uint64_t{0};
    }
  });
}

void ballot(void* const* arguments, unsigned mask) {
  unsigned votes = 0;
  for_each_lane(mask, [&](unsigned lane) {
    if (static_cast<VoteArgument*>(arguments[lane])->value != 0) votes |= 1u << lane;
  });
  for_each_lane(
      mask, [&](unsigned lane) { static_cast<VoteArgument*>(arguments[lane])->result = votes; });
}

void match_any(void* const* arguments, unsigned mask) {
  for_each_lane(mask, [&](unsigned lane) {
    auto* argument = static_cast<VoteArgument*>(arguments[lane]);
    argument->result = 0;
    for_each_lane(mask, [&](unsigned other) {
      if (static_cast<VoteArgument*>(arguments[other])->value == argument->value) {
        argument->result |= 1u << other;
      }
    });
  });
}

void match_all(void* const* arguments, unsigned mask) {
  const auto* first = static_cast<VoteArgument*>(arguments[std::countr_zero(mask)]);
  bool equal = true;
  for_each_lane(mask, [&](unsigned lane) {
    equal &= static_cast<VoteArgument*>(arguments[lane])->value == first->value;
  });
  for_each_lane(mask, [&](unsigned lane) {
    static_cast<VoteArgument*>(arguments[lane])->result = equal ? mask : 0;
  });
}

}  // namespace komt::emulator
