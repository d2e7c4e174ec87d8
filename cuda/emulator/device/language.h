// The CUDA language for a host compiler: all that common/platform.cuh takes from the emulator.
#pragma once

#include "emulator/device/atomics.h"
#include "emulator/device/bfloat16.h"
#include "emulator/device/execution.h"
#include "emulator/device/float16_math.h"
#include "emulator/device/half.h"
#include "emulator/device/intrinsics.h"
#include "emulator/device/qualifiers.h"
#include "emulator/device/sync.h"
#include "emulator/device/vector_types.h"
#include "emulator/device/warp.h"
#include "emulator/runtime_api.h"
