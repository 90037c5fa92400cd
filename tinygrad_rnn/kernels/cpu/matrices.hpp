// What the binding hands to a product of matrices, in raw pointers.
#pragma once

namespace tgrnn {

// A matrix as NumPy has it: element (i, j) is data[i * down + j * right]. Or, if there are lines,
// one of several below or beside each other: what belongs to the k-th term of the sums begins at
// lines[k], and is contiguous.
template <class T> struct Matrix {
  const T *data;
  long rows, columns, down, right;
  const T *const *lines;
};

// c = a b, or c += a b, and c is in C order; with a bias (columns of b,) added to each row. One of b's strides is 1; or b lies in panels, as `pack` left it.
template <class T> struct Product {
  Matrix<T> a, b;
  bool packed, adds;
  const T *bias; // null if there is none, and with `adds`
  T *c;
  int threads;
};

} // namespace tgrnn
