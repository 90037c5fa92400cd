// Vectors of the width of this translation unit's instruction set, by GCC's and Clang's vector
// extension.
//
// Every instruction set is compiled in a namespace of its own (LEVEL), so that the linker never
// merges functions of different sets. For the same reason these headers use no standard library
// templates that generate code.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#ifndef LEVEL
#define LEVEL generic
#endif

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define VECTOR_REGISTERS 32
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define VECTOR_REGISTERS 16
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
#define VECTOR_REGISTERS 32
#else
#define VECTOR_BYTES 16
#define VECTOR_REGISTERS 16
#endif

namespace tgrnn::LEVEL {

template <class T> struct Simd;

template <> struct Simd<float> {
  typedef float Vector __attribute__((vector_size(VECTOR_BYTES)));
  typedef int32_t Bits __attribute__((vector_size(VECTOR_BYTES)));
};

template <> struct Simd<double> {
  typedef double Vector __attribute__((vector_size(VECTOR_BYTES)));
  typedef int64_t Bits __attribute__((vector_size(VECTOR_BYTES)));
};

template <class T> using Vector = typename Simd<T>::Vector;
template <class T> using Bits = typename Simd<T>::Bits;
template <class T> constexpr int lanes = VECTOR_BYTES / sizeof(T);

template <class T> inline Vector<T> load(const T *p) {
  Vector<T> v;
  memcpy(&v, p, sizeof v);
  return v;
}

template <class T> inline void store(T *p, Vector<T> v) { memcpy(p, &v, sizeof v); }

// Load and store the first n lanes; the others are zero.
template <class T> inline Vector<T> load(const T *p, int n) {
  if (n == lanes<T>) return load(p);
  Vector<T> v = {};
  memcpy(&v, p, n * sizeof(T));
  return v;
}

template <class T> inline void store(T *p, Vector<T> v, int n) {
  if (n == lanes<T>) return store(p, v);
  memcpy(p, &v, n * sizeof(T));
}

template <class T> inline Vector<T> broadcast(T x) {
  return x - Vector<T>{};
} // x - 0 is x, also if -0

// Keeps the first n lanes of a vector and zeros the others, even if they are NaN.
template <class T> inline Vector<T> first_lanes(Vector<T> v, int n) {
  Vector<T> lane = {};
#pragma GCC unroll 16
  for (int i = 0; i < lanes<T>; i++) lane[i] = T(i);
  return lane < broadcast(T(n)) ? v : Vector<T>{};
}

// Lane i of the result is lane Pick::from(i) of a and b concatenated.
template <class T, class Pick, int... I>
inline Vector<T> shuffle(Vector<T> a, Vector<T> b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, Pick::from(I)...);
}

template <class T, class Pick> inline Vector<T> shuffle(Vector<T> a, Vector<T> b) {
  return shuffle<T, Pick>(a, b, std::make_integer_sequence<int, lanes<T>>{});
}

// Prefetches `count` elements, to be read or to be written.
template <int Write, class T> inline void prefetch_lines(const T *p, long count) {
  for (long k = 0; k < count; k += 64 / (long)sizeof(T)) __builtin_prefetch(p + k, Write);
}

// Computes out = h_mask * h; zero where the mask is, whatever h is.
template <class T> void apply_h_mask(T *out, const T *h, const T *h_mask, long count) {
  for (long j = 0; j < count; j++) out[j] = h_mask[j] == 0 ? 0 : h[j] * h_mask[j];
}

inline long min(long a, long b) { return a < b ? a : b; }
inline long max(long a, long b) { return a > b ? a : b; }
inline long ceil_div(long n, long size) { return (n + size - 1) / size; }

} // namespace tgrnn::LEVEL
