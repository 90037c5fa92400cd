// What the binding hands to the kernels: one layer in one direction, in raw pointers.
//
// The contract (shapes, meanings) is the docstring of `tinygrad_rnn/kernels/__init__.py`; a pointer
// is null where the contract says None. What is saved for the backward pass is padded: each gate's
// H units to whole vectors, Hp of them, gate after gate.
#pragma once

#include <cstdint>

#include "chain.hpp"
#include "matrices.hpp"
#include "training.hpp"

namespace tgrnn {

enum class Cell { rnn_tanh, rnn_relu, gru, gru_reset_after, lstm, lstm_coupled };

// The share of an old state that survives each step: one for each of its places, or a single one.
template <class T> struct Zone {
  const T *shares; // null if nothing survives
  bool single;
};

constexpr long rounded_block = 64; // what a row of rounded weights is filled up to a multiple of

// Weights as whole numbers from -127 to 127, with 128 added to each, times a scale for each row.
struct Rounded {
  const uint8_t *data;
  const float *scales;
};

// Weights, row after row; also rounded, where they are to be read so.
template <class T> struct Weight {
  const T *data = nullptr;
  Rounded rounded = {nullptr, nullptr};
  Weight(const T *data = nullptr) : data(data) {}
  operator const T *() const { return data; }
};

template <class T> struct Layer {
  Cell cell;
  long steps, batch, features, hidden, out; // T, B, I, H, P
  long entries;                             // V, of the table that x is if there are ids
  const T *x;
  const int64_t *ids; // from 0 to V - 1
  const T *h0, *c0;
  Weight<T> w_ih, w_hh;
  const T *b_ih, *b_hh, *w_hr, *w_ch;
  const int64_t *lengths;
  const bool *reset;
  const T *h_mask;
  Zone<T> h_zone, c_zone;
  T cell_clip; // 0: none
  bool reverse;
  int threads;
};

template <class T> struct Forward {
  T *y, *h_n, *c_n, *cs;
  // Saved, null if nobody wants them: (T, B, planes * Hp), and (T, B, Hp) each of c', tanh(c~) and c~ before its clip.
  T *gates, *cells, *tanh_cells, *made_cells;
};

template <class T> struct Backward {
  const T *y, *gates, *cells, *tanh_cells, *made_cells;
  const T *gy, *gh, *gc, *gcs;                   // cotangents, null where absent
  T *dx, *dh0, *dc0, *dw_ih, *dw_hh, *db_ih, *db_hh, *dw_hr, *dw_ch; // results, null where not needed
};

// The kernels of one instruction set.
struct Kernels {
  const char *name;
  int lanes_float, lanes_double;
  void (*forward_float)(const Layer<float> &, const Forward<float> &);
  void (*forward_double)(const Layer<double> &, const Forward<double> &);
  void (*backward_float)(const Layer<float> &, const Backward<float> &);
  void (*backward_double)(const Layer<double> &, const Backward<double> &);
  void (*cross_entropy_float)(const Logits<float> &);
  void (*cross_entropy_double)(const Logits<double> &);
  void (*add_rows_float)(const RowSums<float> &);
  void (*add_rows_double)(const RowSums<double> &);
  void (*add_squares_float)(const Squares<float> &);
  void (*add_squares_double)(const Squares<double> &);
  void (*adam_float)(const AdamStep<float> &);
  void (*adam_double)(const AdamStep<double> &);
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
  case Cell::lstm_coupled:
  case Cell::gru:
  case Cell::gru_reset_after: return 3;
  default: return 1;
  }
}

inline bool is_lstm(Cell cell) { return cell == Cell::lstm || cell == Cell::lstm_coupled; }

// Planes of Hp that a cell saves of its gates; an RNN's outputs tell all, unless zoneout has mixed them.
template <class T> int saved_planes(const Layer<T> &l) {
  switch (l.cell) {
  case Cell::rnn_tanh:
  case Cell::rnn_relu: return l.h_zone.shares ? 1 : 0;
  case Cell::lstm_coupled: return 3;
  default: return 4;
  }
}

// Whether an LSTM's c~ before its clip is another than the c' that is saved.
template <class T> bool saves_made_cells(const Layer<T> &l) { return is_lstm(l.cell) && (l.c_zone.shares || l.cell_clip > 0); }

} // namespace tgrnn
