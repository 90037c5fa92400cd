// The weights of layers as right operands of `gemm_rows`: packed, unpacked or quantized.
#pragma once

#include "dots.hpp"
#include "gemm.hpp"
#include "quantized.hpp"
#include "scratch.hpp"

namespace tgrnn::LEVEL {

// The transpose of stacked weights (gates * H, depth): each row of w is a column of the product.
template <class T> struct GatePanels : Panels<T> {
  static constexpr int V = lanes<T>;
  Weight<T> w;
  long *first; // by vector of columns: its first row of w, and
  int *counts; // how many rows it has
  bool packed;

  // A panel holds the gates [gate, gate + gates) of `units` vectors of units, gate by gate. With
  // units = 0 all of one gate precedes the next, as in w, each padded to whole vectors.
  GatePanels(Scratch &scratch, Weight<T> w, long hidden, long depth, int gate, int gates,
             int zero_padding, bool packed)
      : Panels<T>(depth, ceil_div(hidden, V) * gates,
                  zero_padding ? gates * zero_padding : kMaxVectors),
        w(w), packed(packed && !w.quantized.data) {
    const long blocks = ceil_div(hidden, V);
    if (this->packed) this->data = scratch.take<T>(this->size());
    first = scratch.take<long>(this->vectors);
    counts = scratch.take<int>(this->vectors);
    for (long block = 0, panel = 0, unit = 0; block < blocks; block++) {
      const long here = min(zero_padding, blocks - panel * zero_padding);
      for (int g = 0; g < gates; g++) {
        const long v = zero_padding ? panel * this->per + g * here + unit : g * blocks + block;
        first[v] = (gate + g) * hidden + block * V;
        counts[v] = (int)min(V, hidden - block * V);
      }
      if (++unit == zero_padding) unit = 0, panel++;
    }
  }

  void pack(long from, long to) { // the panels [from, to)
    for (long v = from * this->per; packed && v < min(to * this->per, this->vectors); v++) {
      long stride;
      T *column = this->column(v, stride);
      pack_transposed(column, stride, w + first[v] * this->depth, this->depth, counts[v],
                      this->depth);
    }
  }

  void multiply(long p, int width, const T *const *a, int rows, long depth, T *tile) const {
    if (packed) return table<T>.of[width - 1][rows - 1](depth, a, 1, this->panel(p), tile);
    multiply_unpacked(p, width, a, rows, depth, tile);
  }

private:
  __attribute__((noinline)) void multiply_unpacked(long p, int width, const T *const *a, int rows,
                                                   long depth, T *tile) const {
    for (int n = 0; n < width; n++) {
      const long v = p * this->per + n;
      dots(a, rows, w + first[v] * this->depth, counts[v], this->depth, depth, tile + n * V,
           width * V);
    }
  }
};

// Rows that multiply quantized weights are quantized once, not for every panel.
template <> struct PreparedRows<float, GatePanels<float>> {
  using Panels = GatePanels<float>;
  const float *const *a;
  const QuantizedRows rows;
  PreparedRows(const Panels &w, const float *const *a, long rows, long depth)
      : a(a), rows(a, w.w.quantized.data ? rows : 0, depth) {}
  void multiply(const Panels &w, long p, int width, long r, int m, long depth, float *tile) const {
    if (w.w.quantized.data) return multiply_quantized(w, p, width, r, m, tile);
    w.multiply(p, width, a + r, m, depth, tile);
  }

private:
  __attribute__((noinline)) void multiply_quantized(const Panels &w, long p, int width, long r,
                                                    int m, float *tile) const {
    for (int k = 0; k < m; k++)
      for (int n = 0; n < width; n++) {
        const long v = p * w.per + n;
        rows.dots(r + k, w.w.quantized, w.first[v], w.counts[v],
                  tile + (long)(k * width + n) * Panels::V);
      }
  }
};

// A matrix (depth, columns) given by pointers to its rows.
template <class T> struct RowPanels : Panels<T> {
  static constexpr int V = lanes<T>;
  const T *const *rows;
  long columns, step = 1; // step: stride of the elements of a row of the left operand

  RowPanels(Scratch &scratch, const T *const *rows, long depth, long columns)
      : Panels<T>(depth, ceil_div(columns, V)), rows(rows), columns(columns) {
    this->data = scratch.take<T>(this->size());
  }

  void pack(long from, long to) { // the panels [from, to)
    for (long v = from * this->per; v < min(to * this->per, this->vectors); v++) {
      long stride;
      T *column = this->column(v, stride);
      pack_rows(column, stride, rows, v * V, (int)min(V, columns - v * V), this->depth);
    }
  }

  void multiply(long p, int width, const T *const *a, int rows, long depth, T *tile) const {
    table<T>.of[width - 1][rows - 1](depth, a, step, this->panel(p), tile);
  }
};

} // namespace tgrnn::LEVEL
