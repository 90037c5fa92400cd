// How the layers' weights lie in panels, and what multiplies them where packing does not pay.
#pragma once

#include "dots.hpp"
#include "memory.hpp"
#include "product.hpp"
#include "rounded.hpp"

namespace tgrnn::LEVEL {

// Weights (gates * H, depth) that multiply from the right, turned: each of their rows is a column.
template <class T> struct GatePanels : Panels<T> {
  static constexpr int V = lanes<T>;
  Weight<T> w;
  long *first; // by vector of columns: its first row, and how many there are
  int *counts;
  bool packed;

  // A panel holds, of `units` vectors of units, the gates [gate, gate + gates); or, with units = 0,
  // gate follows gate as they are stored, each in whole vectors.
  GatePanels(Scratch &scratch, Weight<T> w, long hidden, long depth, int gate, int gates, int units, bool packed)
      : Panels<T>(depth, parts(hidden, V) * gates, units ? gates * units : widest), w(w), packed(packed && !w.rounded.data) {
    const long blocks = parts(hidden, V);
    if (this->packed) this->data = scratch.take<T>(this->size());
    first = scratch.take<long>(this->vectors);
    counts = scratch.take<int>(this->vectors);
    for (long block = 0, panel = 0, unit = 0; block < blocks; block++) {
      const long here = smaller(units, blocks - panel * units);
      for (int g = 0; g < gates; g++) {
        const long v = units ? panel * this->per + g * here + unit : g * blocks + block;
        first[v] = (gate + g) * hidden + block * V;
        counts[v] = (int)smaller(V, hidden - block * V);
      }
      if (++unit == units) unit = 0, panel++;
    }
  }

  void pack(long from, long to) { // panels
    for (long v = from * this->per; packed && v < smaller(to * this->per, this->vectors); v++) {
      long stride;
      T *column = this->column(v, stride);
      pack_turned(column, stride, w + first[v] * this->depth, this->depth, counts[v], this->depth);
    }
  }

  void multiply(long p, int width, const T *const *a, int rows, long depth, T *tile) const {
    if (packed) return table<T>.of[width - 1][rows - 1](depth, a, 1, this->panel(p), tile);
    multiply_unpacked(p, width, a, rows, depth, tile);
  }

private:
  __attribute__((noinline)) void multiply_unpacked(long p, int width, const T *const *a, int rows, long depth, T *tile) const {
    for (int n = 0; n < width; n++) {
      const long v = p * this->per + n;
      dots(a, rows, w + first[v] * this->depth, counts[v], this->depth, depth, tile + n * V, width * V);
    }
  }
};

// Rows that meet rounded weights are rounded once, not at each panel.
template <> struct Entering<float, GatePanels<float>> {
  using Panels = GatePanels<float>;
  const float *const *a;
  const RoundedRows rows;
  Entering(const Panels &w, const float *const *a, long rows, long depth) : a(a), rows(a, w.w.rounded.data ? rows : 0, depth) {}
  void multiply(const Panels &w, long p, int width, long r, int m, long depth, float *tile) const {
    if (w.w.rounded.data) return multiply_rounded(w, p, width, r, m, tile);
    w.multiply(p, width, a + r, m, depth, tile);
  }

private:
  __attribute__((noinline)) void multiply_rounded(const Panels &w, long p, int width, long r, int m, float *tile) const {
    for (int k = 0; k < m; k++)
      for (int n = 0; n < width; n++) {
        const long v = p * w.per + n;
        rows.dots(r + k, w.w.rounded, w.first[v], w.counts[v], tile + (long)(k * width + n) * Panels::V);
      }
  }
};

// Rows as they are, by pointers: (depth, columns).
template <class T> struct RowPanels : Panels<T> {
  static constexpr int V = lanes<T>;
  const T *const *rows;
  long columns, step = 1; // step: from one row's number to the next, in what multiplies

  RowPanels(Scratch &scratch, const T *const *rows, long depth, long columns) 
      : Panels<T>(depth, parts(columns, V)), rows(rows), columns(columns) {
    this->data = scratch.take<T>(this->size());
  }

  void pack(long from, long to) { // panels
    for (long v = from * this->per; v < smaller(to * this->per, this->vectors); v++) {
      long stride;
      T *column = this->column(v, stride);
      pack_straight(column, stride, rows, v * V, (int)smaller(V, columns - v * V), this->depth);
    }
  }

  void multiply(long p, int width, const T *const *a, int rows, long depth, T *tile) const {
    table<T>.of[width - 1][rows - 1](depth, a, step, this->panel(p), tile);
  }
};

} // namespace tgrnn::LEVEL
