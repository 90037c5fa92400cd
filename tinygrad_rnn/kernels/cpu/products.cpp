// The Python face of the products of matrices. What it does not take it answers with None.
#define NO_IMPORT_ARRAY
#include "binding.hpp"

#include <algorithm>
#include <memory>
#include <vector>

namespace tgrnn {
namespace {

template <class T> using Multiply = void (*)(const Product<T> &);
template <class T> using Pack = void (*)(const Matrix<T> &, T *);

enum class Side { any, either, right }; // which strides have to be 1

// A matrix of T that is not empty, with whole strides: as it lies, or a copy. Declined if it is none.
template <class T> Matrix<T> matrix(Held &held, PyObject *given, Side side) {
  constexpr long size = sizeof(T);
  if (!is_memory_of(given, type_of<T>) || PyArray_NDIM(array(given)) != 2 || !PyArray_SIZE(array(given))) throw Declined();
  auto strides = [&](PyArrayObject *o) {
    Matrix<T> m{data<T>(reinterpret_cast<PyObject *>(o)), PyArray_DIM(o, 0), PyArray_DIM(o, 1), PyArray_STRIDE(o, 0) / size, PyArray_STRIDE(o, 1) / size, nullptr};
    if (m.columns == 1) m.right = 1; // what NumPy says of an axis of one may be anything
    if (m.rows == 1) m.down = 1;
    return m;
  };
  PyArrayObject *o = array(given);
  const Matrix<T> m = strides(o);
  const bool whole = PyArray_ISBEHAVED_RO(o) && PyArray_STRIDE(o, 0) % size == 0 && PyArray_STRIDE(o, 1) % size == 0;
  return whole && (side == Side::any || m.right == 1 || (side == Side::either && m.down == 1)) ? m : strides(held.ordered(given, type_of<T>));
}

// Whether it beats NumPy's libraries. They have something of their own for vectors, and for a few rows.
bool pays(long rows, long depth, long columns, bool straight) {
  if ((double)rows * depth * columns < 1 << 16) return true; // what counts is the call
  if (rows == 1 || columns == 1 || depth < 8) return false;
  return rows > (straight ? 8 : 4) || (double)depth * columns > 1 << 17;
}

// to (columns, rows) = from (rows, columns), turned: a square of them that fits the first cache at a time.
template <class T> void turn(const T *from, long rows, long columns, T *to) {
  constexpr long side = 64 / sizeof(T);
  for (long j = 0; j < columns; j += side)
    for (long i = 0; i < rows; i += side) {
      const long end = std::min(i + side, rows), last = std::min(j + side, columns);
      for (long n = j; n < last; n++)
        for (long m = i; m < end; m++) to[n * rows + m] = from[m * columns + n];
    }
}

// To wake a thread costs what some million products do.
template <class T> int threads_for(const Product<T> &p) { return threads_if(2.0 * p.a.rows * p.a.columns * p.b.columns > 4e6); }

// Sets p's threads and c, a new array, and runs it; turned: what it gives is the transpose.
template <class T> PyObject *run(Product<T> &p, Multiply<T> multiply, bool turned = false) {
  Owned c = turned ? new_array(type_of<T>, {p.b.columns, p.a.rows}) : new_array(type_of<T>, {p.a.rows, p.b.columns});
  T *const result = p.c = data<T>(c.get());
  p.threads = threads_for(p);
  without_lock([&] {
    const std::unique_ptr<T[]> aside(turned ? new T[p.a.rows * p.b.columns] : nullptr);
    if (turned) p.c = aside.get();
    multiply(p);
    if (turned) turn(p.c, p.a.rows, p.b.columns, result);
  });
  return c.release();
}

// How many elements a matrix has in panels.
npy_intp size_of_panels(npy_intp rows, npy_intp columns, long lanes) { return times((columns + lanes - 1) / lanes * lanes, rows); }

template <class T> PyObject *multiplied(PyObject *left, PyObject *right, long columns, PyObject *bias, long lanes, Multiply<T> multiply) {
  Held held;
  Product<T> p{};
  p.a = matrix<T>(held, left, Side::any);
  p.packed = columns > 0;
  if (p.packed) {
    PyArrayObject *panels = array(right);
    if (!PyArray_ISCARRAY_RO(panels) || columns > PyArray_SIZE(panels) || PyArray_SIZE(panels) != size_of_panels(p.a.columns, columns, lanes))
      throw Declined();
    p.b = {data<T>(right), p.a.columns, columns, 0, 0, nullptr};
  } else {
    if (!is_memory_of(right, type_of<T>) || PyArray_NDIM(array(right)) != 2 || PyArray_DIM(array(right), 0) != p.a.columns) throw Declined();
    const long wide = PyArray_DIM(array(right), 1);
    if (!pays(p.a.rows, p.a.columns, wide, PyArray_STRIDE(array(right), 1) == sizeof(T) || wide == 1)) throw Declined();
    p.b = matrix<T>(held, right, Side::either);
  }
  if (bias != Py_None) {
    if (!is_memory_of(bias, type_of<T>) || PyArray_NDIM(array(bias)) != 1 || PyArray_SIZE(array(bias)) != p.b.columns) throw Declined();
    p.bias = static_cast<const T *>(PyArray_DATA(held.ordered(bias, type_of<T>)));
  }
  return run(p, multiply);
}

template <class T> bool added(PyObject *c, PyObject *left, PyObject *right, Multiply<T> multiply) {
  Held held;
  Product<T> p{};
  p.a = matrix<T>(held, left, Side::any), p.b = matrix<T>(held, right, Side::either);
  if (PyArray_NDIM(array(c)) != 2 || PyArray_DIM(array(c), 0) != p.a.rows || PyArray_DIM(array(c), 1) != p.b.columns || p.a.columns != p.b.rows ||
      !PyArray_ISCARRAY(array(c)) || Extent(array(c)).overlaps(array(left)) || Extent(array(c)).overlaps(array(right)))
    return false;
  p.adds = true, p.c = data<T>(c), p.threads = threads_for(p);
  without_lock([&] { multiply(p); });
  return true;
}

// Appends the rows of a matrix with so many columns to lines.
template <class T> void list(Held &held, PyObject *o, long &columns, std::vector<const T *> &lines) {
  const Matrix<T> m = matrix<T>(held, o, Side::right);
  if (!columns) columns = m.columns;
  if (m.columns != columns) throw Declined();
  for (long i = 0; i < m.rows; i++) lines.push_back(m.data + i * m.down);
}

template <class T> PyObject *summed(PyObject *left, PyObject *right, Multiply<T> multiply) {
  Held held;
  std::vector<const T *> a, b;
  Product<T> p{};
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(left); i++) {
    list(held, PyTuple_GET_ITEM(left, i), p.a.rows, a), list(held, PyTuple_GET_ITEM(right, i), p.b.columns, b);
    if (a.size() != b.size()) throw Declined();
  }
  // What is on the right is packed, which takes longest where it has left the cache: the narrower one is.
  const bool turned = p.b.columns > 2 * p.a.rows;
  if (turned) std::swap(p.a.rows, p.b.columns), std::swap(a, b);
  p.a.columns = p.b.rows = (long)a.size();
  p.a.down = p.b.right = 1;
  p.a.lines = a.data(), p.b.lines = b.data();
  return run(p, multiply, turned);
}

template <class T> PyObject *packed(PyObject *o, long lanes, Pack<T> pack) {
  Held held;
  const Matrix<T> m = matrix<T>(held, o, Side::either);
  Owned panels = new_array(type_of<T>, {size_of_panels(m.rows, m.columns, lanes)});
  pack(m, data<T>(panels.get()));
  return panels.release();
}

// The dtype of arrays that have the same; declined for others.
int type_of_all(Arguments a, int count) {
  for (int i = 0; i < count; i++)
    if (!is_memory(a[i]) || PyArray_TYPE(array(a[i])) != PyArray_TYPE(array(a[0]))) throw Declined();
  return PyArray_TYPE(array(a[0]));
}

} // namespace

// product(a, b[, columns[, bias]]) -> a @ b + bias; with columns that are not 0, b is what `pack` made of a
// matrix of so many
PyObject *product(Arguments a, Py_ssize_t count) {
  if (count < 2 || count > 4) refuse(PyExc_TypeError, "product: expected a, b, columns and a bias");
  const long columns = count > 2 ? whole_number(a[2]) : 0;
  if (columns < 0) refuse(PyExc_ValueError, "product: there are no %ld columns", columns);
  PyObject *bias = count > 3 ? a[3] : Py_None;
  const Kernels &kernels = best_kernels();
  switch (type_of_all(a, 2)) {
  case NPY_FLOAT: return multiplied<float>(a[0], a[1], columns, bias, kernels.lanes_float, kernels.product_float);
  case NPY_DOUBLE: return multiplied<double>(a[0], a[1], columns, bias, kernels.lanes_double, kernels.product_double);
  default: throw Declined();
  }
}

// add_product(c, a, b) -> True if it was done: c += a @ b; else None
PyObject *add_product(Arguments a, Py_ssize_t count) {
  if (count != 3) refuse(PyExc_TypeError, "add_product: expected c, a and b");
  const Kernels &kernels = best_kernels();
  bool done = false;
  switch (type_of_all(a, 3)) {
  case NPY_FLOAT: done = added<float>(a[0], a[1], a[2], kernels.product_float); break;
  case NPY_DOUBLE: done = added<double>(a[0], a[1], a[2], kernels.product_double);
  }
  if (!done) throw Declined();
  Py_RETURN_TRUE;
}

// sum_of_products(a, b) -> the sum of a[i].T @ b[i], for two tuples of as many arrays
PyObject *sum_of_products(Arguments a, Py_ssize_t count) {
  if (count != 2 || !PyTuple_Check(a[0]) || !PyTuple_Check(a[1]) || PyTuple_GET_SIZE(a[0]) != PyTuple_GET_SIZE(a[1]))
    refuse(PyExc_TypeError, "sum_of_products: expected two tuples of one length");
  if (!PyTuple_GET_SIZE(a[0])) throw Declined();
  PyObject *first = PyTuple_GET_ITEM(a[0], 0);
  const Kernels &kernels = best_kernels();
  if (is_memory_of(first, NPY_FLOAT)) return summed<float>(a[0], a[1], kernels.product_float);
  if (is_memory_of(first, NPY_DOUBLE)) return summed<double>(a[0], a[1], kernels.product_double);
  throw Declined();
}

// pack(b) -> its panels
PyObject *pack(Arguments a, Py_ssize_t count) {
  if (count != 1) refuse(PyExc_TypeError, "pack: expected a matrix");
  const Kernels &kernels = best_kernels();
  if (is_memory_of(a[0], NPY_FLOAT)) return packed<float>(a[0], kernels.lanes_float, kernels.pack_float);
  if (is_memory_of(a[0], NPY_DOUBLE)) return packed<double>(a[0], kernels.lanes_double, kernels.pack_double);
  throw Declined();
}

} // namespace tgrnn
