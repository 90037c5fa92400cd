// What the binding hands to the layers' neighbours, in raw pointers.
#pragma once

#include <cstdint>

namespace tgrnn {

// Rows of logits (rows, classes), and what comes of each: its loss, its part of the cotangent, or both.
template <class T> struct Logits {
  const T *x;
  const int64_t *targets; // (rows,), from 0 to classes - 1
  const T *weights;       // (rows,), of the cotangent only
  T *losses, *cotangent;  // (rows,); and of x's shape, which may be x itself; null where not wanted
  T *sums;                // (classes,), to which the cotangent's rows are added; null where not wanted
  T smoothing;            // the share of each target's probability that is spread over all classes
  long rows, classes;
  int threads;
};

// Rows (count, width) that are added to those of a table (entries, width) that ids name.
template <class T> struct RowSums {
  T *table;
  const int64_t *ids; // from -entries to entries - 1
  const T *rows;
  long entries, count, width;
  int threads;
};

// The sum of the squares of numbers, in double: those of float overflow where its root does not.
template <class T> struct Squares {
  const T *x;
  long count;
  double *sum;
  int threads;
};

// p = shrink p - rate m / (scale sqrt(v) + eps), with m and v the running means of g + decay p.
template <class T> struct AdamStep {
  T *p;
  const T *g;
  T *m, *v;
  long count;
  T b1, b2, rest1, rest2, shrink, decay, scale, eps, rate;
  int threads;
};

} // namespace tgrnn
