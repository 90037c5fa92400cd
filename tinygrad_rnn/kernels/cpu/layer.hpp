// What the binding hands to the kernels: one layer in one direction, in raw pointers.
//
// The contract (shapes, meanings) is the docstring of `tinygrad_rnn/kernels/__init__.py`; a pointer
// is null where the contract says None. What is saved for the backward pass is padded: each gate's
// H units to whole vectors, Hp of them, gate after gate.
#pragma once

#include <cstdint>

#include "chain.hpp"
#include "matrices.hpp"

namespace tgrnn {

enum class Cell { rnn_tanh, rnn_relu, gru, gru_reset_after, lstm };

template <class T> struct Layer {
  Cell cell;
  long steps, batch, features, hidden, out; // T, B, I, H, P
  const T *x, *h0, *c0, *w_ih, *w_hh, *b_ih, *b_hh, *w_hr, *w_ch;
  const int64_t *lengths;
  const bool *reset;
  const T *h_mask;
  bool reverse;
  int threads;
};

template <class T> struct Forward {
  T *y, *h_n, *c_n, *cs;
  T *gates, *cells, *tanh_cells; // saved, (T, B, planes * Hp) and (T, B, Hp); null if nobody wants them
};

template <class T> struct Backward {
  const T *y, *gates, *cells, *tanh_cells;
  const T *gy, *gh, *gc, *gcs;                   // cotangents, null where absent
  T *dx, *dh0, *dc0, *dw_ih, *dw_hh, *db_ih, *db_hh; // results, null where not needed
};

// The kernels of one instruction set.
struct Kernels {
  const char *name;
  int lanes_float, lanes_double;
  void (*forward_float)(const Layer<float> &, const Forward<float> &);
  void (*forward_double)(const Layer<double> &, const Forward<double> &);
  void (*backward_float)(const Layer<float> &, const Backward<float> &);
  void (*backward_double)(const Layer<double> &, const Backward<double> &);
  void (*product_float)(const Product<float> &);
  void (*product_double)(const Product<double> &);
  void (*pack_float)(const Matrix<float> &, float *);
  void (*pack_double)(const Matrix<double> &, double *);
  void (*evaluate_float)(const Chain<float> &);
  void (*evaluate_double)(const Chain<double> &);
};

// Gates whose weights are stacked.
inline int gates(Cell cell) {
  switch (cell) {
  case Cell::lstm: return 4;
  case Cell::gru:
  case Cell::gru_reset_after: return 3;
  default: return 1;
  }
}

// Planes of Hp that a cell saves of its gates.
inline int saved_planes(Cell cell) {
  return cell == Cell::rnn_tanh || cell == Cell::rnn_relu ? 0 : 4;
}

} // namespace tgrnn
