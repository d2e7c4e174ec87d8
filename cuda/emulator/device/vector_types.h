// CUDA's built-in vector types: sizes and alignments of the CUDA C++ Programming Guide.
#pragma once

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

#define KOMT_EMULATOR_VECTOR_TYPE(T, name, size2, size4)                \
  struct name##1 {                                                      \
    T x;                                                                \
  };                                                                    \
  struct alignas(size2) name##2 {                                       \
    T x, y;                                                             \
  };                                                                    \
  struct name##3 {                                                      \
    T x, y, z;                                                          \
  };                                                                    \
  struct alignas(size4) name##4 {                                       \
    T x, y, z, w;                                                       \
  };                                                                    \
  constexpr name##1 make_##name##1(T x) { return {x}; }                 \
  constexpr name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  constexpr name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

KOMT_EMULATOR_VECTOR_TYPE(signed char, char, 2, 4)
KOMT_EMULATOR_VECTOR_TYPE(unsigned char, uchar, 2, 4)
KOMT_EMULATOR_VECTOR_TYPE(short, short, 4, 8)
KOMT_EMULATOR_VECTOR_TYPE(unsigned short, ushort, 4, 8)
KOMT_EMULATOR_VECTOR_TYPE(int, int, 8, 16)
KOMT_EMULATOR_VECTOR_TYPE(unsigned, uint, 8, 16)
KOMT_EMULATOR_VECTOR_TYPE(long long, longlong, 16, 16)
KOMT_EMULATOR_VECTOR_TYPE(unsigned long long, ulonglong, 16, 16)
KOMT_EMULATOR_VECTOR_TYPE(float, float, 8, 16)
KOMT_EMULATOR_VECTOR_TYPE(double, double, 16, 16)

#undef KOMT_EMULATOR_VECTOR_TYPE
