// wgmma (sm_90a): a warpgroup, four warps that begin at a multiple of four, multiplies d += A B^T with
// A [64, 16] and B [kN, 16] in shared memory, asynchronously.
//
// Operands are K-major with the 128-byte swizzle: rows of 128 bytes (64 elements), groups of 8 rows in
// 1,024 bytes that begin at a multiple of that, and the 16-byte chunk c of row r at chunk c ^ (r % 8).
// Lane l of warp w holds rows 16 w + l / 4 and 8 below; d[j] are columns 8 j + 2 (l % 4) and the next, of
// both rows: mma.m16n8k16's layout.
//
// Order, per warpgroup: wgmma_fence(), products, wgmma_commit(), and before d is read or what the products
// read is overwritten wgmma_wait<>(). What ordinary stores or cp.async have put into shared memory is seen
// after fence_proxy_async() by the thread that wrote it, and a barrier. PTX ISA 9.7.15.
#pragma once

#include <type_traits>

#include "common/element.cuh"
#include "common/platform.cuh"

#if defined(KOMT_CUDA_EMULATED)
#include "emulator/ptx/wgmma.h"
#else
#include "ptx/address.cuh"

namespace komt::ptx {

// What a product is told of an operand's tile at `tile`, of which it reads columns 0 to 15. The tile's
// next 16 columns are at + 2: addresses count 16 bytes, and the swizzle is of address bits.
__device__ __forceinline__ std::uint64_t wgmma_operand(const void* tile) {
  constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62;
  constexpr std::uint64_t kGroupOf8Rows = std::uint64_t{1024 / 16} << 32;
  constexpr std::uint64_t kUnused = std::uint64_t{1} << 16;  // the leading dimension of unswizzled tiles
  return kSwizzle128 | kGroupOf8Rows | kUnused | ((shared_address(tile) & 0x3ffffu) >> 4);
}

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }

// Closes the group of the warpgroup's products since the last commit.
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}

// Waits until at most kGroups of the latest groups are still at work.
template <int kGroups>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kGroups) : "memory");
}

// Makes the thread's writes to shared memory visible to wgmma and the bulk copies.
__device__ __forceinline__ void fence_proxy_async() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

namespace wgmma_detail {

#define KOMT_WGMMA_4(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
#define KOMT_WGMMA_16(j) KOMT_WGMMA_4(j), KOMT_WGMMA_4(j + 1), KOMT_WGMMA_4(j + 2), KOMT_WGMMA_4(j + 3)
#define KOMT_WGMMA_32(j) KOMT_WGMMA_16(j), KOMT_WGMMA_16(j + 4)
#define KOMT_WGMMA_64(j) KOMT_WGMMA_32(j), KOMT_WGMMA_32(j + 8)
#define KOMT_WGMMA_80(j) KOMT_WGMMA_64(j), KOMT_WGMMA_16(j + 16)
#define KOMT_WGMMA_128(j) KOMT_WGMMA_64(j), KOMT_WGMMA_64(j + 16)

// The registers of d, then a, b, and whether there is something in d to add to.
#define KOMT_WGMMA_LIST_64 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define KOMT_WGMMA_LIST_128 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define KOMT_WGMMA_LIST_160 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define KOMT_WGMMA_LIST_256 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

#define KOMT_WGMMA(n, registers, type, a_at, b_at, add_at)                                            \
  asm volatile(                                                                                       \
      "{\n.reg .pred add;\nsetp.ne.b32 add, %" add_at ", 0;\n"                                        \
      "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" KOMT_WGMMA_LIST_##n "}, %" \
      a_at ", %" b_at ", add, 1, 1, 0, 0;\n}\n"                                                       \
      : KOMT_WGMMA_##registers(0)                                                                     \
      : "l"(a), "l"(b), "r"(add))

template <class T, int kN>
struct Product;

#define KOMT_WGMMA_PRODUCT(n, registers, a_at, b_at, add_at)                                          \
  template <class T>                                                                                  \
  struct Product<T, n> {                                                                              \
    static __device__ __forceinline__ void issue(float (&d)[n / 8][4], std::uint64_t a,               \
                                                 std::uint64_t b, int add) {                          \
      if constexpr (std::is_same_v<T, half>) {                                                        \
        KOMT_WGMMA(n, registers, "f16", a_at, b_at, add_at);                                          \
      } else {                                                                                        \
        KOMT_WGMMA(n, registers, "bf16", a_at, b_at, add_at);                                         \
      }                                                                                               \
    }                                                                                                 \
  }
KOMT_WGMMA_PRODUCT(64, 32, "32", "33", "34");
KOMT_WGMMA_PRODUCT(128, 64, "64", "65", "66");
KOMT_WGMMA_PRODUCT(160, 80, "80", "81", "82");
KOMT_WGMMA_PRODUCT(256, 128, "128", "129", "130");

#undef KOMT_WGMMA_PRODUCT
#undef KOMT_WGMMA
#undef KOMT_WGMMA_LIST_64
#undef KOMT_WGMMA_LIST_128
#undef KOMT_WGMMA_LIST_160
#undef KOMT_WGMMA_LIST_256
#undef KOMT_WGMMA_128
#undef KOMT_WGMMA_80
#undef KOMT_WGMMA_64
#undef KOMT_WGMMA_32
#undef KOMT_WGMMA_16
#undef KOMT_WGMMA_4

}  // namespace wgmma_detail

// d = A B^T, or d += A B^T. T is half or bfloat16; kN 64, 128, 160 or 256.
template <class T, int kN>
__device__ __forceinline__ void wgmma_m64k16(float (&d)[kN / 8][4], std::uint64_t a, std::uint64_t b,
                                             bool add) {
  wgmma_detail::Product<T, kN>::issue(d, a, b, add);
}

}  // namespace komt::ptx

#endif
