// How the layers' weights lie in panels.
#pragma once

#include "memory.hpp"
#include "product.hpp"

namespace tgrnn::LEVEL {

// Weights (rows, depth) that multiply from the right, turned: the rows of gate g, unit u make
// column g * H + u. A panel holds, of `units` vectors of units, the gates [first, first + gates).
template <class T> struct GatePanels : Panels<T> {
  static constexpr int V = lanes<T>;
  const T *w;
  long hidden, blocks;
  int first, gates, units;

  GatePanels(Scratch &scratch, const T *w, long hidden, long depth, int first, int gates, int units)
      : w(w), hidden(hidden), blocks(parts(hidden, V)), first(first), gates(gates), units(units) {
    this->depth = depth;
    this->vectors = blocks * gates;
    this->per = gates * units;
    this->data = scratch.take<T>(this->size());
  }

  void pack(long from, long to) { // panels
    const long depth = this->depth;
    for (long block = from * units; block < smaller(to * units, blocks); block++) {
      const long p = block / units, here = smaller(units, blocks - p * units);
      for (int g = 0; g < gates; g++) {
        long stride;
        T *column = this->column(p * this->per + g * here + block % units, stride);
        pack_turned(column, stride, w + ((first + g) * hidden + block * V) * depth, depth,
                    (int)smaller(V, hidden - block * V), depth);
      }
    }
  }
};

// The same in the order in which gates are stored: gate after gate, each of whole vectors.
template <class T> struct PlanePanels : Panels<T> {
  static constexpr int V = lanes<T>;
  const T *w;
  long hidden, blocks;

  PlanePanels(Scratch &scratch, const T *w, long hidden, long depth, int gates)
      : w(w), hidden(hidden), blocks(parts(hidden, V)) {
    this->depth = depth;
    this->vectors = blocks * gates;
    this->data = scratch.take<T>(this->size());
  }

  void pack(long from, long to) { // panels
    for (long v = from * this->per; v < smaller(to * this->per, this->vectors); v++) {
      const long g = v / blocks, first = v % blocks * V;
      long stride;
      T *column = this->column(v, stride);
      pack_turned(column, stride, w + (g * hidden + first) * this->depth, this->depth,
                  (int)smaller(V, hidden - first), this->depth);
    }
  }
};

// Rows as they are, by pointers: (depth, columns).
template <class T> struct RowPanels : Panels<T> {
  static constexpr int V = lanes<T>;
  const T *const *rows;
  long columns;

  RowPanels(Scratch &scratch, const T *const *rows, long depth, long columns) : rows(rows), columns(columns) {
    this->depth = depth;
    this->vectors = parts(columns, V);
    this->data = scratch.take<T>(this->size());
  }

  void pack(long from, long to) { // panels
    for (long v = from * this->per; v < smaller(to * this->per, this->vectors); v++) {
      long stride;
      T *column = this->column(v, stride);
      pack_straight(column, stride, rows, v * V, (int)smaller(V, columns - v * V), this->depth);
    }
  }
};

} // namespace tgrnn::LEVEL
