#pragma once
// Kernels of every instruction set are compiled in one program; which one runs is decided when a
// backend is created. Each kernels_*.cpp sets KOMT_ISA (its namespace) and its target options.
#if defined(_MSC_VER) && !defined(__clang__)
#define KOMT_INLINE static __forceinline
#define KOMT_UNROLL
#elif defined(__clang__)
#define KOMT_INLINE static inline __attribute__((always_inline))
#define KOMT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define KOMT_INLINE static inline __attribute__((always_inline))
#define KOMT_UNROLL _Pragma("GCC unroll 16")
#endif
