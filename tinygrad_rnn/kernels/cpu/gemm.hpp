// The matrix product that all kernels share, `gemm_rows`: rows of the left operand, given by
// pointers, times a right operand packed in panels, with an epilogue for each tile.
//
// A panel holds up to kMaxVectors vectors of columns, row after row. The micro-kernel accumulates a
// tile of up to kMaxRows rows by one panel in registers and stores it once; the epilogue then adds
// a bias, applies a cell's nonlinearities or writes the result.
#pragma once

#include "simd.hpp"

namespace tgrnn::LEVEL {

constexpr int kMaxVectors = 4; // columns of a panel, in vectors
constexpr int kMaxRows = 8;    // rows of a tile

// How many rows a tile over n vectors may have to fit in registers.
constexpr int max_rows(int n) {
  const int fit = (VECTOR_REGISTERS == 32 ? 24 : 12) / n;
  return fit < kMaxRows ? fit : kMaxRows;
}

// The micro-kernel: tile[m][n] = sum over k of a[m][k * step] * panel[k][n].
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
    if constexpr (M < max_rows(N)) Multiplies<T, N, M + 1>::fill(table);
  }
};

// The micro-kernels, indexed by width - 1 and rows - 1.
template <class T> struct Table {
  Multiply<T> of[kMaxVectors][kMaxRows] = {};
  constexpr Table() {
    Multiplies<T, 1>::fill(of[0]);
    Multiplies<T, 2>::fill(of[1]);
    Multiplies<T, 3>::fill(of[2]);
    Multiplies<T, 4>::fill(of[3]);
  }
};

// constexpr, as no code of this instruction set may run when the module is loaded.
template <class T> constexpr Table<T> table;

// A packed operand: `vectors` vectors of columns, `per` of them in each panel, the rest in the
// last.
template <class T> struct Panels {
  T *data = nullptr;
  long depth;
  const long vectors, panels;
  const int per;

  Panels(long depth, long vectors, int per = kMaxVectors)
      : depth(depth), vectors(vectors), panels(ceil_div(vectors, per)), per(per) {}

  long count() const { return panels; }
  int width(long p) const { return (int)min(per, vectors - p * per); }
  T *panel(long p) const { return data + p * per * lanes<T> * depth; }
  // Where vector v of the columns is stored: its row k at [k * stride].
  T *column(long v, long &stride) const {
    const long p = v / per;
    stride = width(p) * lanes<T>;
    return panel(p) + (v - p * per) * lanes<T>;
  }
  long size() const { return vectors * lanes<T> * depth; }
};

// The rows of the left operand, in the form in which a kind of weights multiplies them: as they
// are. Other forms are specializations (`weights.hpp`).
template <class T, class Weights> struct PreparedRows {
  const T *const *a;
  PreparedRows(const Weights &, const T *const *a, long, long) : a(a) {}
  void multiply(const Weights &w, long p, int width, long r, int m, long depth, T *tile) const {
    w.multiply(p, width, a + r, m, depth, tile);
  }
};

struct NoOp {
  template <class... Anything> void operator()(Anything...) const {}
};

// Multiplies rows a[0..rows) with the panels [from, to). For every row of a tile it calls
//   prefetch(panel, width, row)            before the tile is computed,
//   epilogue(panel, width, row, tile row)  when it is, and
//   late_epilogue(the same)                after the epilogues of all rows of the tile: the CPU
//   overlaps
//                                          long dependency chains of different rows.
template <class T, class Weights, class Epilogue, class Prefetch = NoOp, class LateEpilogue = NoOp>
inline void gemm_rows(const Weights &w, long from, long to, const T *const *a, long rows,
                      long depth, Epilogue epilogue, Prefetch prefetch = {},
                      LateEpilogue late_epilogue = {}) {
  alignas(64) T tile[24 * lanes<T>];
  if (!rows) return;
  const PreparedRows<T, Weights> prepared(w, a, rows, depth);
  for (long p = from; p < to; p++) {
    const int width = w.width(p), most = max_rows(width);
    const long tiles =
        rows <= most ? 1 : ceil_div(rows, most); // divisions cost as much as small tiles
    const long height = tiles == 1 ? rows : rows / tiles, taller = rows - tiles * height;
    for (long i = 0, r = 0; i < tiles; i++) { // of nearly equal heights
      const int m = (int)(height + (i < taller));
      if (m < 1) __builtin_unreachable(); // tiles <= rows, which the compiler cannot prove
      for (int k = 0; k < m; k++) prefetch(p, width, r + k);
      prepared.multiply(w, p, width, r, m, depth, tile);
      for (int k = 0; k < m; k++) epilogue(p, width, r + k, tile + (long)k * width * lanes<T>);
      for (int k = 0; k < m; k++) late_epilogue(p, width, r + k, tile + (long)k * width * lanes<T>);
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

// Transposes a square of vectors, v[i][j] <-> v[j][i], by swapping halves, quarters and so on.
template <class T, int Half> inline void transpose(Vector<T> *v) {
#pragma GCC unroll 16
  for (int i = 0; i < lanes<T>; i++)
    if (!(i & Half)) {
      const Vector<T> a = v[i], b = v[i + Half];
      v[i] = shuffle<T, LowHalves<T, Half>>(a, b);
      v[i + Half] = shuffle<T, HighHalves<T, Half>>(a, b);
    }
  if constexpr (Half > 1) transpose<T, Half / 2>(v);
}

// Packs one vector of columns from rows of w: column[k][lane] = w[lane][k], zero from `count` on.
template <class T>
inline void pack_transposed(T *column, long stride, const T *w, long ld, int count, long depth) {
  constexpr int V = lanes<T>;
  long k = 0;
  for (; k + V <= depth; k += V) {
    Vector<T> v[V];
#pragma GCC unroll 16
    for (int i = 0; i < V; i++) v[i] = i < count ? load(w + i * ld + k) : Vector<T>{};
    transpose<T, V / 2>(v);
#pragma GCC unroll 16
    for (int i = 0; i < V; i++) store(column + (k + i) * stride, v[i]);
  }
  for (; k < depth; k++)
    for (int i = 0; i < V; i++) column[k * stride + i] = i < count ? w[i * ld + k] : T(0);
}

// Packs one vector of columns from rows: column[k] = the vector at rows[k] + first, zero from
// `count` on.
template <class T>
inline void pack_rows(T *column, long stride, const T *const *rows, long first, int count,
                      long depth) {
  for (long k = 0; k < depth; k++) store(column + k * stride, load(rows[k] + first, count));
}

} // namespace tgrnn::LEVEL
