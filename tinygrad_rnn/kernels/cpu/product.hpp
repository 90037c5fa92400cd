// The one matrix product: rows given by pointers, times weights packed in panels, a tile at a time.
//
// A panel is a few vectors wide and as deep as the product; its rows lie one after another. A tile
// is what some rows make of a panel: it is accumulated in registers, set down once, and handed to
// a function that finishes it (adds a bias, runs a cell's nonlinearities, stores it somewhere).
// Everything that the layers multiply goes through `sweep`.
#pragma once

#include "simd.hpp"

namespace tgrnn::LEVEL {

constexpr int widest = 4; // vectors of a panel
constexpr int tallest = 8; // rows of a tile

// Rows of the tile over a panel n vectors wide that still lies in registers.
constexpr int most_rows(int n) {
  const int fit = (VECTOR_REGISTERS == 32 ? 24 : 12) / n;
  return fit < tallest ? fit : tallest;
}

// tile[m][n] = sum over k of a[m][k * step] * panel[k][n]
template <class T, int M, int N>
void multiply(long depth, const T *const *a, long step, const T *panel, T *tile) {
  constexpr int V = lanes<T>;
  Vector<T> sum[M][N] = {};
  const T *row[M];
#pragma GCC unroll 8
  for (int m = 0; m < M; m++) row[m] = a[m];
  for (long k = 0, at = 0; k < depth; k++, at += step, panel += N * V) {
    Vector<T> w[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; n++) w[n] = load(panel + n * V);
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) {
      const Vector<T> x = broadcast(row[m][at]);
#pragma GCC unroll 4
      for (int n = 0; n < N; n++) sum[m][n] += x * w[n];
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; m++)
#pragma GCC unroll 4
    for (int n = 0; n < N; n++) store(tile + (m * N + n) * V, sum[m][n]);
}

template <class T> using Multiply = void (*)(long, const T *const *, long, const T *, T *);

template <class T, int N, int M = 1> struct Multiplies {
  static constexpr void fill(Multiply<T> *table) {
    table[M - 1] = multiply<T, M, N>;
    if constexpr (M < most_rows(N)) Multiplies<T, N, M + 1>::fill(table);
  }
};

// The kernels by the panel's width and the tile's height, less one each.
template <class T> struct Table {
  Multiply<T> of[widest][tallest] = {};
  constexpr Table() {
    Multiplies<T, 1>::fill(of[0]);
    Multiplies<T, 2>::fill(of[1]);
    Multiplies<T, 3>::fill(of[2]);
    Multiplies<T, 4>::fill(of[3]);
  }
};

// Made by the compiler: nothing of this instruction set may run while the module is loaded.
template <class T> constexpr Table<T> table;

// Weights in panels: `vectors` columns of vectors, `per` in a panel, the last panel with the rest.
template <class T> struct Panels {
  T *data = nullptr;
  long depth;
  const long vectors, panels;
  const int per;

  Panels(long depth, long vectors, int per = widest) : depth(depth), vectors(vectors), panels(parts(vectors, per)), per(per) {}

  long count() const { return panels; }
  int width(long p) const { return (int)smaller(per, vectors - p * per); }
  T *panel(long p) const { return data + p * per * lanes<T> * depth; }
  // Where the vector v lies: row k at [k * stride].
  T *column(long v, long &stride) const {
    const long p = v / per;
    stride = width(p) * lanes<T>;
    return panel(p) + (v - p * per) * lanes<T>;
  }
  long size() const { return vectors * lanes<T> * depth; }
};

// Rows on their way through weights, which may want them in a form of their own: see `weights.hpp`.
template <class T, class Weights> struct Entering {
  const T *const *a;
  Entering(const Weights &, const T *const *a, long, long) : a(a) {}
  void multiply(const Weights &w, long p, int width, long r, int m, long depth, T *tile) const {
    w.multiply(p, width, a + r, m, depth, tile);
  }
};

struct Nothing {
  template <class... Anything> void operator()(Anything...) const {}
};

// Runs rows a[0..rows) through panels [from, to): finish(panel, width, row, tile's row), and before
// the tile is made ready(panel, width, row), which may fetch what finish will want. When all rows of
// a tile are finished, follow(panel, width, row, tile's row): what would have to wait for long
// dependent computations of its own row has others to do meanwhile.
template <class T, class Weights, class Finish, class Ready = Nothing, class Follow = Nothing>
inline void sweep(const Weights &w, long from, long to, const T *const *a, long rows, long depth, Finish finish,
                  Ready ready = {}, Follow follow = {}) {
  alignas(64) T tile[24 * lanes<T>];
  const Entering<T, Weights> entering(w, a, rows, depth);
  for (long p = from; p < to; p++) {
    const int width = w.width(p), most = most_rows(width);
    const long tiles = parts(rows, most), height = tiles ? rows / tiles : 0, taller = rows - tiles * height;
    for (long i = 0, r = 0; i < tiles; i++) { // heights as even as can be
      const int m = (int)(height + (i < taller));
      if (m < 1) __builtin_unreachable(); // no more tiles than rows, which the compiler cannot see
      for (int k = 0; k < m; k++) ready(p, width, r + k);
      entering.multiply(w, p, width, r, m, depth, tile);
      for (int k = 0; k < m; k++) finish(p, width, r + k, tile + (long)k * width * lanes<T>);
      for (int k = 0; k < m; k++) follow(p, width, r + k, tile + (long)k * width * lanes<T>);
      r += m;
    }
  }
}

// ---------------------------------------------------------------- packing

template <class T, int Half> struct LowHalves {
  static constexpr int from(int i) { return i & Half ? lanes<T> + i - Half : i; }
};
template <class T, int Half> struct HighHalves {
  static constexpr int from(int i) { return i & Half ? lanes<T> + i : i + Half; }
};

// Turns a square of lanes x lanes: v[i][j] <-> v[j][i], by exchanging ever smaller halves.
template <class T, int Half> inline void turn(Vector<T> *v) {
#pragma GCC unroll 16
  for (int i = 0; i < lanes<T>; i++)
    if (!(i & Half)) {
      const Vector<T> a = v[i], b = v[i + Half];
      v[i] = shuffle<T, LowHalves<T, Half>>(a, b);
      v[i + Half] = shuffle<T, HighHalves<T, Half>>(a, b);
    }
  if constexpr (Half > 1) turn<T, Half / 2>(v);
}

// One vector of columns that are rows of w: column[k][lane] = w[lane][k], zero from `count` on.
template <class T> inline void pack_turned(T *column, long stride, const T *w, long ld, int count, long depth) {
  constexpr int V = lanes<T>;
  long k = 0;
  for (; k + V <= depth; k += V) {
    Vector<T> v[V];
#pragma GCC unroll 16
    for (int i = 0; i < V; i++) v[i] = i < count ? load(w + i * ld + k) : Vector<T>{};
    turn<T, V / 2>(v);
#pragma GCC unroll 16
    for (int i = 0; i < V; i++) store(column + (k + i) * stride, v[i]);
  }
  for (; k < depth; k++)
    for (int i = 0; i < V; i++) column[k * stride + i] = i < count ? w[i * ld + k] : T(0);
}

// One vector of columns as they are: column[k] = the vector at rows[k] + first, zero from `count` on.
template <class T> inline void pack_straight(T *column, long stride, const T *const *rows, long first, int count, long depth) {
  for (long k = 0; k < depth; k++) store(column + k * stride, load(rows[k] + first, count));
}

} // namespace tgrnn::LEVEL
