// The Python bindings of matrix products: product, add_product, sum_of_products and pack.
//
// They give None for anything but non-empty matrices of one dtype, float32 or float64, and where
// NumPy's BLAS is faster: the caller then uses `@`.
#define NO_IMPORT_ARRAY
#include "binding.hpp"

#include <algorithm>
#include <memory>
#include <vector>

namespace tgrnn {
namespace {

template <class T> using Multiply = void (*)(const Product<T> &);
template <class T> using Pack = void (*)(const Matrix<T> &, T *);

enum class Contiguous { neither, either, rows }; // which of a matrix's strides must be 1

// A view of a non-empty matrix of T, or of a contiguous copy where its strides do not serve. Throws
// Unsupported for anything else.
template <class T> Matrix<T> matrix(ArrayArguments &arrays, PyObject *o, Contiguous axis) {
  constexpr long size = sizeof(T);
  if (!is_numpy_of(o, type_of<T>) || PyArray_NDIM(array(o)) != 2 || !PyArray_SIZE(array(o)))
    throw Unsupported();
  auto view = [](PyArrayObject *a) {
    Matrix<T> m{static_cast<const T *>(PyArray_DATA(a)),
                PyArray_DIM(a, 0),
                PyArray_DIM(a, 1),
                PyArray_STRIDE(a, 0) / size,
                PyArray_STRIDE(a, 1) / size,
                nullptr};
    if (m.columns == 1) m.column_stride = 1; // NumPy's stride of an axis of length one is arbitrary
    if (m.rows == 1) m.row_stride = 1;
    return m;
  };
  PyArrayObject *a = array(o);
  const Matrix<T> m = view(a);
  const bool behaved = PyArray_ISBEHAVED_RO(a) && PyArray_STRIDE(a, 0) % size == 0 &&
                       PyArray_STRIDE(a, 1) % size == 0;
  const bool fits = axis == Contiguous::neither || m.column_stride == 1 ||
                    (axis == Contiguous::either && m.row_stride == 1);
  return behaved && fits ? m : view(arrays.contiguous(o, type_of<T>));
}

// Whether this is faster than BLAS, which has special kernels for vectors and for few rows.
// Measured.
bool is_faster_than_blas(long rows, long depth, long columns, bool b_contiguous) {
  if ((double)rows * depth * columns < 1 << 16) return true; // the cost of the call dominates
  if (rows == 1 || columns == 1 || depth < 8) return false;
  return rows > (b_contiguous ? 8 : 4) || (double)depth * columns > 1 << 17;
}

// Transposes from (rows, columns) to (columns, rows), in square blocks that fit the L1 cache.
template <class T> void transpose(const T *from, long rows, long columns, T *to) {
  constexpr long side = 64 / sizeof(T);
  for (long j = 0; j < columns; j += side)
    for (long i = 0; i < rows; i += side) {
      const long end = std::min(i + side, rows), last = std::min(j + side, columns);
      for (long n = j; n < last; n++)
        for (long m = i; m < end; m++) to[n * rows + m] = from[m * columns + n];
    }
}

// Waking a thread costs about as much as a million multiplications.
template <class T> int threads_for(const Product<T> &p) {
  return threads_if(2.0 * p.a.rows * p.a.columns * p.b.columns > 4e6);
}

// Runs a product into a new array, or into its transpose.
template <class T> PyObject *run(Product<T> &p, Multiply<T> kernel, bool transpose_result = false) {
  PyRef c = transpose_result ? new_array(type_of<T>, {p.b.columns, p.a.rows})
                             : new_array(type_of<T>, {p.a.rows, p.b.columns});
  T *const result = p.c = data<T>(c.get());
  p.threads = threads_for(p);
  without_gil([&] {
    const std::unique_ptr<T[]> buffer(transpose_result ? new T[p.a.rows * p.b.columns] : nullptr);
    if (transpose_result) p.c = buffer.get();
    kernel(p);
    if (transpose_result) transpose(p.c, p.a.rows, p.b.columns, result);
  });
  return c.release();
}

// How many elements a packed matrix has.
npy_intp size_of_panels(npy_intp rows, npy_intp columns, long lanes) {
  return times((columns + lanes - 1) / lanes * lanes, rows);
}

template <class T>
PyObject *multiply(PyObject *left, PyObject *right, long columns, PyObject *bias, long lanes,
                   Multiply<T> kernel) {
  ArrayArguments arrays;
  Product<T> p{};
  p.a = matrix<T>(arrays, left, Contiguous::neither);
  p.packed = columns > 0;
  if (p.packed) {
    PyArrayObject *panels = array(right);
    if (!PyArray_ISCARRAY_RO(panels) || columns > PyArray_SIZE(panels) ||
        PyArray_SIZE(panels) != size_of_panels(p.a.columns, columns, lanes))
      throw Unsupported();
    p.b = {data<T>(right), p.a.columns, columns, 0, 0, nullptr};
  } else {
    if (!is_numpy_of(right, type_of<T>) || PyArray_NDIM(array(right)) != 2 ||
        PyArray_DIM(array(right), 0) != p.a.columns)
      throw Unsupported();
    const long wide = PyArray_DIM(array(right), 1);
    if (!is_faster_than_blas(p.a.rows, p.a.columns, wide,
                             PyArray_STRIDE(array(right), 1) == sizeof(T) || wide == 1))
      throw Unsupported();
    p.b = matrix<T>(arrays, right, Contiguous::either);
  }
  if (bias != Py_None) {
    if (!is_numpy_of(bias, type_of<T>) || PyArray_NDIM(array(bias)) != 1 ||
        PyArray_SIZE(array(bias)) != p.b.columns)
      throw Unsupported();
    p.bias = static_cast<const T *>(PyArray_DATA(arrays.contiguous(bias, type_of<T>)));
  }
  return run(p, kernel);
}

// c += left @ right in place. False if c's shape or memory does not allow it.
template <class T> bool add(PyObject *c, PyObject *left, PyObject *right, Multiply<T> kernel) {
  ArrayArguments arrays;
  Product<T> p{};
  p.a = matrix<T>(arrays, left, Contiguous::neither),
  p.b = matrix<T>(arrays, right, Contiguous::either);
  if (PyArray_NDIM(array(c)) != 2 || PyArray_DIM(array(c), 0) != p.a.rows ||
      PyArray_DIM(array(c), 1) != p.b.columns || p.a.columns != p.b.rows ||
      !PyArray_ISCARRAY(array(c)) || Extent(array(c)).overlaps(array(left)) ||
      Extent(array(c)).overlaps(array(right)))
    return false;
  p.accumulate = true, p.c = data<T>(c), p.threads = threads_for(p);
  without_gil([&] { kernel(p); });
  return true;
}

// Appends a matrix's rows to `lines`. The first call sets `columns`, which the others must have.
template <class T>
void append_rows(ArrayArguments &arrays, PyObject *o, long &columns,
                 std::vector<const T *> &lines) {
  const Matrix<T> m = matrix<T>(arrays, o, Contiguous::rows);
  if (!columns) columns = m.columns;
  if (m.columns != columns) throw Unsupported();
  for (long i = 0; i < m.rows; i++) lines.push_back(m.data + i * m.row_stride);
}

// The sum of left[i].T @ right[i]: one product of the concatenated rows, without copying them.
template <class T> PyObject *sum(PyObject *left, PyObject *right, Multiply<T> kernel) {
  ArrayArguments arrays;
  std::vector<const T *> a, b;
  Product<T> p{};
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(left); i++) {
    append_rows(arrays, PyTuple_GET_ITEM(left, i), p.a.rows, a),
        append_rows(arrays, PyTuple_GET_ITEM(right, i), p.b.columns, b);
    if (a.size() != b.size()) throw Unsupported();
  }
  // The right operand is packed, which is slow when it is not in the cache: take the narrower one.
  const bool swapped = p.b.columns > 2 * p.a.rows;
  if (swapped) std::swap(p.a.rows, p.b.columns), std::swap(a, b);
  p.a.columns = p.b.rows = (long)a.size();
  p.a.row_stride = p.b.column_stride = 1;
  p.a.lines = a.data(), p.b.lines = b.data();
  return run(p, kernel, swapped);
}

template <class T> PyObject *pack_matrix(PyObject *o, long lanes, Pack<T> kernel) {
  ArrayArguments arrays;
  const Matrix<T> m = matrix<T>(arrays, o, Contiguous::either);
  PyRef panels = new_array(type_of<T>, {size_of_panels(m.rows, m.columns, lanes)});
  kernel(m, data<T>(panels.get()));
  return panels.release();
}

// The dtype that all of some arrays have. Throws Unsupported if there is none.
int common_type(Arguments a, int count) {
  for (int i = 0; i < count; i++)
    if (!is_numpy(a[i]) || PyArray_TYPE(array(a[i])) != PyArray_TYPE(array(a[0])))
      throw Unsupported();
  return PyArray_TYPE(array(a[0]));
}

} // namespace

// product(a, b[, columns[, bias]]) -> a @ b + bias, or None. With columns > 0, b is the result of
// `pack` for a matrix of so many columns.
PyObject *product(Arguments a, Py_ssize_t count) {
  if (count < 2 || count > 4) raise(PyExc_TypeError, "product: expected a, b, columns and a bias");
  const long columns = count > 2 ? to_integer(a[2]) : 0;
  if (columns < 0)
    raise(PyExc_ValueError, "product: columns: expected 0 or more, got %ld", columns);
  PyObject *bias = count > 3 ? a[3] : Py_None;
  const Kernels &kernels = best_kernels();
  switch (common_type(a, 2)) {
  case NPY_FLOAT:
    return multiply<float>(a[0], a[1], columns, bias, kernels.lanes_float, kernels.product_float);
  case NPY_DOUBLE:
    return multiply<double>(a[0], a[1], columns, bias, kernels.lanes_double,
                            kernels.product_double);
  default: throw Unsupported();
  }
}

// add_product(c, a, b): c += a @ b -> True, or None if nothing was done
PyObject *add_product(Arguments a, Py_ssize_t count) {
  if (count != 3) raise(PyExc_TypeError, "add_product: expected c, a and b");
  const Kernels &kernels = best_kernels();
  bool done = false;
  switch (common_type(a, 3)) {
  case NPY_FLOAT: done = add<float>(a[0], a[1], a[2], kernels.product_float); break;
  case NPY_DOUBLE: done = add<double>(a[0], a[1], a[2], kernels.product_double);
  }
  if (!done) throw Unsupported();
  Py_RETURN_TRUE;
}

// sum_of_products(a, b) -> the sum of a[i].T @ b[i], for two tuples of equal length, or None
PyObject *sum_of_products(Arguments a, Py_ssize_t count) {
  if (count != 2 || !PyTuple_Check(a[0]) || !PyTuple_Check(a[1]) ||
      PyTuple_GET_SIZE(a[0]) != PyTuple_GET_SIZE(a[1]))
    raise(PyExc_TypeError, "sum_of_products: expected two tuples of equal length");
  if (!PyTuple_GET_SIZE(a[0])) throw Unsupported();
  PyObject *first = PyTuple_GET_ITEM(a[0], 0);
  const Kernels &kernels = best_kernels();
  if (is_numpy_of(first, NPY_FLOAT)) return sum<float>(a[0], a[1], kernels.product_float);
  if (is_numpy_of(first, NPY_DOUBLE)) return sum<double>(a[0], a[1], kernels.product_double);
  throw Unsupported();
}

// pack(b) -> b packed in panels for `product`, or None
PyObject *pack(Arguments a, Py_ssize_t count) {
  if (count != 1) raise(PyExc_TypeError, "pack: expected a matrix");
  const Kernels &kernels = best_kernels();
  if (is_numpy_of(a[0], NPY_FLOAT))
    return pack_matrix<float>(a[0], kernels.lanes_float, kernels.pack_float);
  if (is_numpy_of(a[0], NPY_DOUBLE))
    return pack_matrix<double>(a[0], kernels.lanes_double, kernels.pack_double);
  throw Unsupported();
}

} // namespace tgrnn
