// The interface between the Python bindings and the kernels: one struct of arguments per kernel, in
// raw pointers, and `Kernels`, the table of functions that each instruction set compiles.
//
// The bindings have checked shapes and ranges, and every array is contiguous in C order unless its
// struct has strides. Shapes and meanings of a layer's arrays are those of the contract in
// `tinygrad_rnn/kernels/__init__.py`; a pointer is null where the contract says None. Kernels keep
// no pointer after they return. They throw std::bad_alloc and nothing else.
#pragma once

#include <cstdint>

namespace tgrnn {

// ---------------------------------------------------------------- recurrent layers

enum class Cell { rnn_tanh, rnn_relu, gru, gru_reset_after, lstm, lstm_coupled };

// The probability that each unit keeps its old state (zoneout), or with `scalar` one for all units
// and steps.
template <class T> struct Zoneout {
  const T *keep; // null without zoneout
  bool scalar;
};

constexpr long kQuantizedBlock = 64; // rows of quantized weights are padded to a multiple of this

// Weights of 8 bits: integers from -127 to 127, stored with 128 added, times one scale per row.
struct QuantizedMatrix {
  const uint8_t *data;
  const float *scales;
};

// Weights row by row, and the same quantized if the kernels are to use those instead.
template <class T> struct Weight {
  const T *data = nullptr;
  QuantizedMatrix quantized = {nullptr, nullptr};
  Weight(const T *data = nullptr) : data(data) {}
  operator const T *() const { return data; }
};

// The inputs of one layer in one direction.
template <class T> struct Layer {
  Cell cell;
  long steps, batch, features, hidden, out; // T, B, I, H, P
  long entries;                             // V, the rows of the table x, if there are ids
  const T *x;
  const int64_t *ids; // 0 to V - 1
  const T *h0, *c0;
  Weight<T> w_ih, w_hh;
  const T *b_ih, *b_hh, *w_hr, *w_ch;
  const int64_t *lengths;
  const bool *reset;
  const T *h_mask;
  Zoneout<T> h_zoneout, c_zoneout;
  T cell_clip; // 0: none
  bool reverse;
  int threads;
};

// The results of a forward pass. The last four are saved for the backward pass and null if there
// will be none: `gates` is (T, B, planes * Hp), the others are (T, B, Hp), where Hp is H padded to
// whole vectors.
template <class T> struct Forward {
  T *y, *h_n, *c_n, *cs;
  T *gates, *cells, *tanh_cells, *raw_cells; // raw: before the clip and zoneout
};

// What a backward pass reads (`Forward`'s results and the gradients of its outputs, null where
// absent) and writes (gradients of the inputs, null where not needed).
template <class T> struct Backward {
  const T *y, *gates, *cells, *tanh_cells, *raw_cells;
  const T *gy, *gh, *gc, *gcs;
  T *dx, *dh0, *dc0, *dw_ih, *dw_hh, *db_ih, *db_hh, *dw_hr, *dw_ch;
};

// How many gates have weights, stacked in w_ih and w_hh.
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

// How many planes of Hp `Forward::gates` has. An RNN's outputs are enough, except under zoneout.
template <class T> int saved_planes(const Layer<T> &l) {
  switch (l.cell) {
  case Cell::rnn_tanh:
  case Cell::rnn_relu: return l.h_zoneout.keep ? 1 : 0;
  case Cell::lstm_coupled: return 3;
  default: return 4;
  }
}

// Whether `Forward::raw_cells` differs from `cells`.
template <class T> bool saves_raw_cells(const Layer<T> &l) {
  return is_lstm(l.cell) && (l.c_zoneout.keep || l.cell_clip > 0);
}

// ---------------------------------------------------------------- training

// The cross-entropy of rows of logits (rows, classes), its gradient, or both.
template <class T> struct Logits {
  const T *x;
  const int64_t *targets; // (rows,), 0 to classes - 1
  const T *weights;       // (rows,), of the gradient only
  T *losses, *gradient;   // (rows,), and x's shape, which may be x itself; null where not wanted
  T *sums;     // (classes,), to which the gradient's rows are added; null where not wanted
  T smoothing; // label smoothing
  long rows, classes;
  int threads;
};

// table[ids[i]] += rows[i], for rows (count, width) and a table (entries, width).
template <class T> struct RowSums {
  T *table;
  const int64_t *ids; // -entries to entries - 1
  const T *rows;
  long entries, count, width;
  int threads;
};

// *sum += the squares of x, in double: those of float overflow where the root of their sum does
// not.
template <class T> struct Squares {
  const T *x;
  long count;
  double *sum;
  int threads;
};

// p = shrink p - rate m / (scale sqrt(v) + eps), where m and v are the running means of
// g + decay p and of its square.
template <class T> struct AdamStep {
  T *p;
  const T *g;
  T *m, *v;
  long count;
  T b1, b2, one_minus_b1, one_minus_b2, shrink, decay, scale, eps, rate;
  int threads;
};

// ---------------------------------------------------------------- matrix products

// Element (i, j) is data[i * row_stride + j * column_stride]. Or, if `lines` is set, the matrix is
// a concatenation: what belongs to the k-th term of the sums starts at lines[k] and is contiguous.
template <class T> struct Matrix {
  const T *data;
  long rows, columns, row_stride, column_stride;
  const T *const *lines;
};

// c = a b + bias, or c += a b. One stride of b is 1, unless b is packed in panels by `pack`.
template <class T> struct Product {
  Matrix<T> a, b;
  bool packed, accumulate;
  const T *bias; // (b.columns,), null for none and with `accumulate`
  T *c;          // in C order
  int threads;
};

// ---------------------------------------------------------------- elementwise programs

enum class Opcode : unsigned char {
  add,
  subtract,
  multiply,
  divide,
  maximum,
  minimum,
  negative,
  absolute,
  sign,
  tanh,
  count
};

// Registers hold the inputs, then the constants, then the results of instructions.
struct Instruction {
  Opcode opcode;
  unsigned char a, b, to;
};

template <class T> struct Input {
  const T *data;
  long row_stride;
};

template <class T> struct Output {
  T *data;
  long row_stride;
};

// Instructions that run on every element of (rows, columns).
template <class T> struct ElementwiseProgram {
  long rows, columns;
  const Input<T> *inputs;
  const T *constants;
  int input_count, constant_count, registers, length, output_count;
  const Instruction *instructions;
  const unsigned char *results; // the outputs' registers
  const Output<T> *outputs;
};

// Random bits: see philox.hpp. Fills words, or mask with whether they are at least `least`.
struct Philox {
  uint64_t key, call, first;
  uint32_t least;
  long count;
  uint32_t *words;
  uint8_t *mask;
  int threads;
};

// ---------------------------------------------------------------- instruction sets

// The kernels of one instruction set, for float and double.
struct Kernels {
  const char *name;
  int lanes_float, lanes_double; // of a vector
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
  void (*evaluate_float)(const ElementwiseProgram<float> &);
  void (*evaluate_double)(const ElementwiseProgram<double> &);
  void (*philox)(const Philox &);
};

#if defined(X86_64_LEVELS)

namespace x86_64_v2 {
extern const Kernels kernels;
}
namespace x86_64_v3 {
extern const Kernels kernels;
}
namespace x86_64_v4 {
extern const Kernels kernels;
}

// Those of the widest vectors that this CPU has.
inline const Kernels &best_kernels() {
  static const Kernels &best = __builtin_cpu_supports("x86-64-v4")   ? x86_64_v4::kernels
                               : __builtin_cpu_supports("x86-64-v3") ? x86_64_v3::kernels
                                                                     : x86_64_v2::kernels;
  return best;
}

#else

namespace generic {
extern const Kernels kernels;
}

inline const Kernels &best_kernels() { return generic::kernels; }

#endif

} // namespace tgrnn
