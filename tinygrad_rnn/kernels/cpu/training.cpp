// The Python bindings of the training kernels: cross_entropy, add_rows, sum_of_squares and adam.
//
// Results are written into arrays of the caller, which must be contiguous, writeable and share no
// memory with other arguments (a gradient may replace its input). Any other argument raises.
#define NO_IMPORT_ARRAY
#include "binding.hpp"

namespace tgrnn {
namespace {

int threads_for(long elements) { return threads_if(elements > 100000); }

void check_count(Py_ssize_t expected, Py_ssize_t count, const char *name) {
  if (count != expected)
    raise(PyExc_TypeError, "%s: expected %zd arguments, got %zd", name, expected, count);
}

// Calls one of two functions, by an array's dtype.
template <class Float, class Double>
void dispatch(PyObject *o, const char *name, Float of_float, Double of_double) {
  if (is_numpy_of(o, NPY_FLOAT)) return of_float();
  if (is_numpy_of(o, NPY_DOUBLE)) return of_double();
  raise(PyExc_TypeError, "%s: expected an array of float32 or float64: its dtype does not fit",
        name);
}

template <class T> void cross_entropy(Arguments a, void (*kernel)(const Logits<T> &)) {
  PyArrayObject *x = array(a[0]);
  const int axes = PyArray_NDIM(x);
  if (!axes) raise(PyExc_ValueError, "x: expected at least one axis");
  const Shape all(x), rows(x, 0, axes - 1);
  ArrayArguments arrays;
  Logits<T> l{};
  l.smoothing = T(to_real(a[3]));
  l.classes = PyArray_DIM(x, axes - 1), l.rows = PyArray_MultiplyList(PyArray_DIMS(x), axes - 1);
  l.targets = arrays.integers(a[1], rows, 0, l.classes - 1, PyExc_IndexError, "targets");
  if (!l.targets) raise(PyExc_TypeError, "targets: expected an array, got None");
  l.threads = threads_for(PyArray_SIZE(x));
  if (a[2] != Py_None) {
    l.weights = arrays.input<T>(a[2], rows, "weights");
    l.x = arrays.input<T>(a[0], all, "x");
    l.gradient = arrays.output<T>(a[5], all, "the cotangent", true, l.x);
    if (PyArray_SIZE(x)) l.sums = arrays.output<T>(a[6], {l.classes}, "sums");
  } else {
    l.x = arrays.input<T>(a[0], all, "x");
  }
  l.losses = arrays.output<T>(a[4], rows, "losses", !l.weights);
  without_gil([&] { kernel(l); });
}

template <class T> void add_rows(Arguments a, void (*kernel)(const RowSums<T> &)) {
  PyArrayObject *table = array(a[0]);
  if (!PyArray_NDIM(table)) raise(PyExc_ValueError, "table: expected at least one axis");
  if (!is_numpy(a[1]))
    raise(PyExc_TypeError, "ids: expected an array, got %.100s", Py_TYPE(a[1])->tp_name);
  ArrayArguments arrays;
  RowSums<T> s{};
  s.entries = PyArray_DIM(table, 0), s.count = PyArray_SIZE(array(a[1]));
  s.width = PyArray_MultiplyList(PyArray_DIMS(table) + 1, PyArray_NDIM(table) - 1);
  s.ids =
      arrays.integers(a[1], Shape(array(a[1])), -s.entries, s.entries - 1, PyExc_IndexError, "ids");
  Shape rows(array(a[1]));
  if (rows.axes + PyArray_NDIM(table) - 1 > NPY_MAXDIMS)
    raise(PyExc_ValueError, "rows: too many axes");
  for (int i = 1; i < PyArray_NDIM(table); i++) rows.of[rows.axes++] = PyArray_DIM(table, i);
  s.rows = arrays.input<T>(a[2], rows, "rows", true);
  s.table = arrays.output<T>(a[0], Shape(table), "table");
  s.threads = threads_for(times(s.count, s.width));
  without_gil([&] { kernel(s); });
}

template <class T> double squares(PyObject *x, void (*kernel)(const Squares<T> &)) {
  ArrayArguments arrays;
  double sum = 0;
  const npy_intp count = PyArray_SIZE(array(x));
  const Squares<T> s{arrays.input<T>(x, Shape(array(x)), "x"), count, &sum, threads_for(count)};
  without_gil([&] { kernel(s); });
  return sum;
}

template <class T> void adam(Arguments a, void (*kernel)(const AdamStep<T> &)) {
  ArrayArguments arrays;
  AdamStep<T> s{};
  T *const settings[] = {&s.b1,    &s.b2,    &s.one_minus_b1, &s.one_minus_b2, &s.shrink,
                         &s.decay, &s.scale, &s.eps,          &s.rate};
  for (int i = 0; i < 9; i++) *settings[i] = (T)to_real(a[4 + i]);
  const Shape shape(array(a[0]));
  s.count = PyArray_SIZE(array(a[0]));
  s.g = arrays.input<T>(a[1], shape, "g", true);
  s.p = arrays.output<T>(a[0], shape, "p");
  s.m = arrays.output<T>(a[2], shape, "m", true);
  s.v = arrays.output<T>(a[3], shape, "v", true);
  s.threads = threads_for(s.count);
  without_gil([&] { kernel(s); });
}

} // namespace

// cross_entropy(x, targets, weights, smoothing, losses, gradient, sums)
//
// Writes the losses, with weights also the gradient of sum(weights * losses), whose rows it adds to
// sums. None for results that are not wanted.
PyObject *cross_entropy(Arguments a, Py_ssize_t count) {
  check_count(7, count, "cross_entropy");
  const Kernels &k = best_kernels();
  dispatch(
      a[0], "x", [&] { cross_entropy<float>(a, k.cross_entropy_float); },
      [&] { cross_entropy<double>(a, k.cross_entropy_double); });
  Py_RETURN_NONE;
}

// add_rows(table, ids, rows): table[ids[i]] += rows[i]
PyObject *add_rows(Arguments a, Py_ssize_t count) {
  check_count(3, count, "add_rows");
  const Kernels &k = best_kernels();
  dispatch(
      a[0], "table", [&] { add_rows<float>(a, k.add_rows_float); },
      [&] { add_rows<double>(a, k.add_rows_double); });
  Py_RETURN_NONE;
}

// sum_of_squares(x) -> float
PyObject *sum_of_squares(Arguments a, Py_ssize_t count) {
  check_count(1, count, "sum_of_squares");
  const Kernels &k = best_kernels();
  double sum = 0;
  dispatch(
      a[0], "x", [&] { sum = squares<float>(a[0], k.add_squares_float); },
      [&] { sum = squares<double>(a[0], k.add_squares_double); });
  return PyFloat_FromDouble(sum);
}

// adam(p, g, m, v, b1, b2, 1 - b1, 1 - b2, shrink, decay, scale, eps, rate): one step of
// `AdamStep`, in place
PyObject *adam(Arguments a, Py_ssize_t count) {
  check_count(13, count, "adam");
  const Kernels &k = best_kernels();
  dispatch(
      a[0], "p", [&] { adam<float>(a, k.adam_float); }, [&] { adam<double>(a, k.adam_double); });
  Py_RETURN_NONE;
}

} // namespace tgrnn
