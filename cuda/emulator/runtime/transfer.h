// Copies and fills: checked when asked for, carried out in their stream's order.
#pragma once

#include "emulator/runtime/operation.h"

namespace komt::emulator {

// Whether the pointers are of the kinds that the direction says.
bool matches_direction(const CopyWork& work, cudaMemcpyKind kind);

// Neither device nor pinned memory.
bool is_pageable(const void* p);

// From begin to end the host must leave pinned buffers alone.
void begin_transfer(const CopyWork& work);
void end_transfer(const CopyWork& work);

// Takes the bytes of a pageable source now, as the runtime's staging does.
void stage_source(CopyWork& work);

void carry_out(const CopyWork& work);
void carry_out(const SetWork& work);

}  // namespace komt::emulator
