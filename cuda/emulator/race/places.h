// Code addresses and source lines under small numbers, so that shadow memory can remember them.
#pragma once

#include <cstdint>

#include "emulator/device/execution.h"

namespace komt::emulator {

using Place = std::uint32_t;

Place place_of(const void* return_address);
Place place_of(SourceLocation where);

// Looked up when first asked for; valid for the life of the process.
SourceLocation source_of(Place place);

}  // namespace komt::emulator
