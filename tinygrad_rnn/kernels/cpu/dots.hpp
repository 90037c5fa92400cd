// Dot products with the rows of weights in memory, for products with too few rows to pay for
// packing.
#pragma once

#include "simd.hpp"

namespace tgrnn::LEVEL {

// Lane i takes its own element, of a if i lacks the bit `Apart`, else of b; or that of its partner
// i ^ Apart.
template <class T, int Apart> struct Own {
  static constexpr int from(int i) { return i & Apart ? lanes<T> + i : i; }
};
template <class T, int Apart> struct Partner {
  static constexpr int from(int i) { return Own<T, Apart>::from(i) ^ Apart; }
};

// Adds pairs of lanes whose indices differ by the bit `Apart`, of vectors W with as many lanes as
// T's.
template <class T, int Apart, class W> inline W fold(W a, W b) {
  const Vector<T> x = (Vector<T>)a, y = (Vector<T>)b;
  return (W)shuffle<T, Own<T, Apart>>(x, y) + (W)shuffle<T, Partner<T, Apart>>(x, y);
}

// Adds all lanes whose indices differ in bits above `Last` up to `Apart`; each of them gets the
// sum.
template <class T, int Apart, int Last, class W> inline W fold_rest(W a) {
  if constexpr (Apart == Last) return a;
  else return fold_rest<T, Apart / 2, Last>(fold<T, Apart>(a, a));
}

// to[n] = the sum of the lanes of sum[n], n < 4.
template <class T, class W, class To> inline void store_sums(const W *sum, To *to) {
  constexpr int V = lanes<T>;
  // Lanes 0 to 3 (or 0 and 1 of two vectors of two lanes) get one sum each.
  if constexpr (V >= 4) {
    W s = fold<T, 2>(fold<T, 1>(sum[0], sum[1]), fold<T, 1>(sum[2], sum[3]));
    s = fold_rest<T, V / 2, 2>(s);
    memcpy(to, &s, 4 * sizeof(To));
  } else {
    const W low = fold<T, 1>(sum[0], sum[1]), high = fold<T, 1>(sum[2], sum[3]);
    memcpy(to, &low, sizeof low), memcpy(to + V, &high, sizeof high);
  }
}

template <class T, int... I> constexpr Bits<T> counted(std::integer_sequence<int, I...>) {
  return Bits<T>{I...};
}

// The lanes [from, to) of a vector, zero in the others.
template <class T> inline Vector<T> some_lanes(Vector<T> v, int from, int to) {
  const Bits<T> at = counted<T>(std::make_integer_sequence<int, lanes<T>>{});
  return (Vector<T>)((Bits<T>)v & (at >= from) & (at < to));
}

// to[m * ld_to + n] = a[m] . w[n * ld] for M rows a and `count` <= 4 rows w.
// The time is that of reading the weights, half as long again where loads cross cache lines: the
// arrays of Tensors begin at one.
template <class T, int M>
__attribute__((always_inline)) inline void dots_of(const T *const *a, const T *w, int count,
                                                   long ld, long depth, T *to, long ld_to) {
  constexpr int V = lanes<T>, N = 4;
  static_assert(V >= 2);
  Vector<T> sum[M][N] = {};
  const T *rows[N];
#pragma GCC unroll 4
  for (int n = 0; n < N; n++) rows[n] = w + (n < count ? n : count - 1) * ld;
  const auto add = [&](auto load_some) __attribute__((always_inline)) {
    Vector<T> x[M];
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) x[m] = load_some(a[m]);
#pragma GCC unroll 4
    for (int n = 0; n < N; n++) {
      const Vector<T> y = load_some(rows[n]);
#pragma GCC unroll 4
      for (int m = 0; m < M; m++) sum[m][n] += x[m] * y;
    }
  };
  if (depth < 2 * V) {
    for (long k = 0; k < depth; k += V)
      add([&](const T *p) { return load(p + k, (int)min(V, depth - k)); });
  } else {
    long k = 0;
    for (; k + V <= depth; k += V) add([&](const T *p) { return load(p + k); });
    if (k < depth)
      add([&](const T *p) { return some_lanes<T>(load(p + depth - V), (int)(V - depth + k), V); });
  }
#pragma GCC unroll 4
  for (int m = 0; m < M; m++) {
    if (count == N) {
      store_sums<T>(sum[m], to + m * ld_to);
    } else {
      T out[N];
      store_sums<T>(sum[m], out);
      for (int n = 0; n < count; n++) to[m * ld_to + n] = out[n];
    }
  }
}

// to[m * ld_to + n] = a[m] . w[n * ld] for n < count, zero up to a vector's lanes.
template <class T>
inline void dots(const T *const *a, int rows, const T *w, int count, long ld, long depth, T *to,
                 long ld_to) {
  constexpr int V = lanes<T>;
  for (int m = 0; m < rows; m++)
    for (int n = count; n < V; n++) to[m * ld_to + n] = 0;
  for (int n = 0; n < count; n += 4) {
    const int here = (int)min(4, count - n);
    int m = 0;
    for (; m + 4 <= rows; m += 4)
      dots_of<T, 4>(a + m, w + n * ld, here, ld, depth, to + m * ld_to + n, ld_to);
    for (; m + 2 <= rows; m += 2)
      dots_of<T, 2>(a + m, w + n * ld, here, ld, depth, to + m * ld_to + n, ld_to);
    for (; m < rows; m++)
      dots_of<T, 1>(a + m, w + n * ld, here, ld, depth, to + m * ld_to + n, ld_to);
  }
}

} // namespace tgrnn::LEVEL
