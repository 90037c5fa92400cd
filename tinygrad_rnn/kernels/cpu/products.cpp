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

// A matrix of whole strides, aligned, and not empty. False for anything else.
template <class T> bool matrix(PyArrayObject *o, Matrix<T> &m) {
  constexpr long size = sizeof(T);
  if (PyArray_NDIM(o) != 2 || PyArray_TYPE(o) != type_of<T> || !PyArray_ISBEHAVED_RO(o) || !PyArray_SIZE(o)) return false;
  const long down = PyArray_STRIDE(o, 0), right = PyArray_STRIDE(o, 1);
  if (down % size || right % size) return false;
  m = {static_cast<const T *>(PyArray_DATA(o)), PyArray_DIM(o, 0), PyArray_DIM(o, 1), down / size, right / size, nullptr};
  if (m.columns == 1) m.right = 1; // what NumPy says of an axis of one may be anything
  if (m.rows == 1) m.down = 1;
  return true;
}

// Whether it beats NumPy's libraries. They have something of their own for vectors, and for a few rows.
bool pays(long rows, long depth, long columns, bool straight) {
  if (rows * depth * columns < 1 << 16) return true; // what counts is the call
  if (rows == 1 || columns == 1 || depth < 8) return false;
  return rows > (straight ? 8 : 4) || depth * columns > 1 << 17;
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
  const npy_intp shape[] = {turned ? p.b.columns : p.a.rows, turned ? p.a.rows : p.b.columns};
  PyObject *c = PyArray_SimpleNew(2, const_cast<npy_intp *>(shape), type_of<T>);
  if (!c) return nullptr;
  T *const result = p.c = static_cast<T *>(PyArray_DATA(reinterpret_cast<PyArrayObject *>(c)));
  p.threads = threads_for(p);
  try {
    without_lock([&] {
      const std::unique_ptr<T[]> aside(turned ? new T[p.a.rows * p.b.columns] : nullptr);
      if (turned) p.c = aside.get();
      multiply(p);
      if (turned) turn(p.c, p.a.rows, p.b.columns, result);
    });
  } catch (int) {
    Py_DECREF(c);
    return nullptr;
  }
  return c;
}

template <class T>
PyObject *multiplied(PyArrayObject *left, PyArrayObject *right, long columns, PyObject *bias, long lanes, Multiply<T> multiply) {
  Product<T> p{};
  if (!matrix(left, p.a)) return Py_NewRef(Py_None);
  p.packed = columns > 0;
  if (p.packed) {
    if (PyArray_SIZE(right) != (columns + lanes - 1) / lanes * lanes * p.a.columns) return Py_NewRef(Py_None);
    p.b = {static_cast<const T *>(PyArray_DATA(right)), p.a.columns, columns, 0, 0, nullptr};
  } else if (!matrix(right, p.b) || (p.b.right != 1 && p.b.down != 1) || p.a.columns != p.b.rows ||
             !pays(p.a.rows, p.a.columns, p.b.columns, p.b.right == 1))
    return Py_NewRef(Py_None);
  if (bias != Py_None) {
    if (!PyArray_CheckExact(bias)) return Py_NewRef(Py_None);
    PyArrayObject *b = reinterpret_cast<PyArrayObject *>(bias);
    if (PyArray_TYPE(b) != type_of<T> || !PyArray_ISCARRAY_RO(b) || PyArray_NDIM(b) != 1 || PyArray_SIZE(b) != p.b.columns)
      return Py_NewRef(Py_None);
    p.bias = static_cast<const T *>(PyArray_DATA(b));
  }
  return run(p, multiply);
}

template <class T> PyObject *added(PyArrayObject *c, PyArrayObject *left, PyArrayObject *right, Multiply<T> multiply) {
  Product<T> p{};
  Matrix<T> sum;
  if (!matrix(left, p.a) || !matrix(right, p.b) || !matrix(c, sum) || (p.b.right != 1 && p.b.down != 1) || p.a.columns != p.b.rows ||
      sum.rows != p.a.rows || sum.columns != p.b.columns || !PyArray_ISCARRAY(c))
    Py_RETURN_FALSE;
  p.adds = true, p.c = static_cast<T *>(PyArray_DATA(c)), p.threads = threads_for(p);
  try {
    without_lock([&] { multiply(p); });
  } catch (int) {
    return nullptr;
  }
  Py_RETURN_TRUE;
}

// Appends the rows of a matrix with so many columns to lines; false if they are not contiguous.
template <class T> bool listed(PyObject *o, long &columns, std::vector<const T *> &lines) {
  Matrix<T> m;
  if (!PyArray_CheckExact(o) || !matrix(reinterpret_cast<PyArrayObject *>(o), m) || m.right != 1) return false;
  if (!columns) columns = m.columns;
  for (long i = 0; i < m.rows; i++) lines.push_back(m.data + i * m.down);
  return m.columns == columns;
}

template <class T> PyObject *summed(PyObject *left, PyObject *right, Multiply<T> multiply) {
  std::vector<const T *> a, b;
  Product<T> p{};
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(left); i++)
    if (!listed(PyTuple_GET_ITEM(left, i), p.a.rows, a) || !listed(PyTuple_GET_ITEM(right, i), p.b.columns, b) || a.size() != b.size())
      return Py_NewRef(Py_None);
  // What is on the right is packed, which takes longest where it has left the cache: the narrower one is.
  const bool turned = p.b.columns > 2 * p.a.rows;
  if (turned) std::swap(p.a.rows, p.b.columns), std::swap(a, b);
  p.a.columns = p.b.rows = (long)a.size();
  p.a.down = p.b.right = 1;
  p.a.lines = a.data(), p.b.lines = b.data();
  return run(p, multiply, turned);
}

template <class T> PyObject *packed(PyArrayObject *o, long lanes, Pack<T> pack) {
  Matrix<T> m;
  if (!matrix(o, m) || (m.right != 1 && m.down != 1)) return Py_NewRef(Py_None);
  const npy_intp size = (m.columns + lanes - 1) / lanes * lanes * m.rows;
  PyObject *panels = PyArray_SimpleNew(1, const_cast<npy_intp *>(&size), type_of<T>);
  if (panels) pack(m, static_cast<T *>(PyArray_DATA(reinterpret_cast<PyArrayObject *>(panels))));
  return panels;
}

} // namespace

// product(a, b[, columns[, bias]]) -> a @ b + bias; with columns that are not 0, b is what `pack` made of a
// matrix of so many
PyObject *product(PyObject *, PyObject *const *args, Py_ssize_t count) {
  if (count < 2 || count > 4) return PyErr_Format(PyExc_TypeError, "product: expected a, b, columns and a bias");
  if (!PyArray_CheckExact(args[0]) || !PyArray_CheckExact(args[1])) return Py_NewRef(Py_None);
  PyArrayObject *a = reinterpret_cast<PyArrayObject *>(args[0]), *b = reinterpret_cast<PyArrayObject *>(args[1]);
  const long columns = count > 2 ? PyLong_AsLong(args[2]) : 0;
  PyObject *bias = count > 3 ? args[3] : Py_None;
  if (columns == -1 && PyErr_Occurred()) return nullptr;
  const int type = PyArray_TYPE(a);
  if (type != PyArray_TYPE(b)) return Py_NewRef(Py_None);
  const Kernels &kernels = best_kernels();
  if (type == NPY_FLOAT) return multiplied<float>(a, b, columns, bias, kernels.lanes_float, kernels.product_float);
  if (type == NPY_DOUBLE) return multiplied<double>(a, b, columns, bias, kernels.lanes_double, kernels.product_double);
  return Py_NewRef(Py_None);
}

// add_product(c, a, b) -> whether it was done: c += a @ b
PyObject *add_product(PyObject *, PyObject *const *args, Py_ssize_t count) {
  if (count != 3) return PyErr_Format(PyExc_TypeError, "add_product: expected c, a and b");
  PyArrayObject *a[3];
  for (int i = 0; i < 3; i++) {
    if (!PyArray_CheckExact(args[i])) Py_RETURN_FALSE;
    a[i] = reinterpret_cast<PyArrayObject *>(args[i]);
    if (PyArray_TYPE(a[i]) != PyArray_TYPE(a[0])) Py_RETURN_FALSE;
  }
  const Kernels &kernels = best_kernels();
  switch (PyArray_TYPE(a[0])) {
  case NPY_FLOAT: return added<float>(a[0], a[1], a[2], kernels.product_float);
  case NPY_DOUBLE: return added<double>(a[0], a[1], a[2], kernels.product_double);
  default: Py_RETURN_FALSE;
  }
}

// sum_of_products(a, b) -> the sum of a[i].T @ b[i], for two tuples of as many arrays
PyObject *sum_of_products(PyObject *, PyObject *const *args, Py_ssize_t count) {
  if (count != 2 || !PyTuple_Check(args[0]) || !PyTuple_Check(args[1]) || PyTuple_GET_SIZE(args[0]) != PyTuple_GET_SIZE(args[1]))
    return PyErr_Format(PyExc_TypeError, "sum_of_products: expected two tuples of one length");
  if (!PyTuple_GET_SIZE(args[0]) || !PyArray_CheckExact(PyTuple_GET_ITEM(args[0], 0))) return Py_NewRef(Py_None);
  const Kernels &kernels = best_kernels();
  switch (PyArray_TYPE(reinterpret_cast<PyArrayObject *>(PyTuple_GET_ITEM(args[0], 0)))) {
  case NPY_FLOAT: return summed<float>(args[0], args[1], kernels.product_float);
  case NPY_DOUBLE: return summed<double>(args[0], args[1], kernels.product_double);
  default: return Py_NewRef(Py_None);
  }
}

// pack(b) -> its panels
PyObject *pack(PyObject *, PyObject *b) {
  if (!PyArray_CheckExact(b)) return Py_NewRef(Py_None);
  PyArrayObject *a = reinterpret_cast<PyArrayObject *>(b);
  const Kernels &kernels = best_kernels();
  if (PyArray_TYPE(a) == NPY_FLOAT) return packed<float>(a, kernels.lanes_float, kernels.pack_float);
  if (PyArray_TYPE(a) == NPY_DOUBLE) return packed<double>(a, kernels.lanes_double, kernels.pack_double);
  return Py_NewRef(Py_None);
}

} // namespace tgrnn
