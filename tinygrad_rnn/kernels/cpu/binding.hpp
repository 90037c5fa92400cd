// Shared by the Python bindings: argument checks and conversions, errors, and the GIL.
//
// Inputs must be NumPy arrays of the expected dtype and shape. One that is not contiguous, aligned
// and in native byte order is copied. Outputs must be contiguous and writeable and share no memory
// with other arguments. Any other argument ends in a Python error (`raise`) or, where NumPy code
// can take over, in a result of None (throw Unsupported). Kernels never see unchecked memory.
#pragma once

#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL tinygrad_rnn_arrays
#include <Python.h>
#include <numpy/arrayobject.h>

#include <cstdint>
#include <exception>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "kernels.hpp"

namespace tgrnn {

struct PythonError {}; // thrown after a Python exception has been set
struct Unsupported {}; // thrown to return None: the caller runs NumPy code instead

template <class... Values>
[[noreturn]] void raise(PyObject *kind, const char *format, Values... values) {
  PyErr_Format(kind, format, values...);
  throw PythonError();
}

using Arguments = PyObject *const *;

// Wraps a function that throws C++ exceptions as a METH_FASTCALL function of Python.
template <PyObject *(*Function)(Arguments, Py_ssize_t)>
PyObject *fastcall(PyObject *, Arguments a, Py_ssize_t count) {
  try {
    return Function(a, count);
  } catch (const PythonError &) {
    return nullptr;
  } catch (const Unsupported &) {
    Py_RETURN_NONE;
  } catch (const std::bad_alloc &) {
    return PyErr_NoMemory();
  }
}

extern int num_threads;

// All threads if that is worth their synchronization, or one.
inline int threads_if(bool worthwhile) { return worthwhile ? num_threads : 1; }

// The number of threads for steps of `work` operations each. Threads that split the batch never
// wait for each other; otherwise they meet at barriers, which cost as much as some thousand
// operations.
inline int threads_for(long steps, long batch, double work) {
  return threads_if(batch >= 2L * num_threads ? steps * work > 1e6 : work > 2e5);
}

template <class T>
constexpr int type_of = sizeof(T) == 1   ? NPY_UINT8
                        : sizeof(T) == 4 ? NPY_FLOAT
                                         : NPY_DOUBLE;

// Runs work() without the GIL.
template <class Work> void without_gil(Work work) {
  bool out_of_memory = false;
  Py_BEGIN_ALLOW_THREADS try { work(); } catch (const std::bad_alloc &) {
    out_of_memory = true;
  }
  Py_END_ALLOW_THREADS if (out_of_memory) throw std::bad_alloc();
}

// ---------------------------------------------------------------- numbers

inline long to_integer(PyObject *o) {
  const long n = PyLong_AsLong(o);
  if (n == -1 && PyErr_Occurred()) throw PythonError();
  return n;
}

inline double to_real(PyObject *o) {
  const double x = PyFloat_AsDouble(o);
  if (x == -1 && PyErr_Occurred()) throw PythonError();
  return x;
}

inline bool boolean(PyObject *o) {
  const int is = PyObject_IsTrue(o);
  if (is < 0) throw PythonError();
  return is;
}

inline npy_intp times(npy_intp a, npy_intp b) {
  npy_intp product;
  if (__builtin_mul_overflow(a, b, &product)) throw std::bad_alloc();
  return product;
}

// ---------------------------------------------------------------- arrays

inline PyArrayObject *array(PyObject *o) { return reinterpret_cast<PyArrayObject *>(o); }

// Whether an object is a NumPy array with NumPy's arithmetic: np.memmap is, np.matrix and masked
// arrays are not.
inline bool is_numpy(PyObject *o) {
  if (PyArray_CheckExact(o)) return true;
  if (!PyArray_Check(o) ||
      Py_TYPE(o)->tp_as_number->nb_multiply != PyArray_Type.tp_as_number->nb_multiply)
    return false;
  PyObject *own =
      PyObject_GetAttrString(reinterpret_cast<PyObject *>(Py_TYPE(o)), "__array_ufunc__");
  PyObject *numpys =
      PyObject_GetAttrString(reinterpret_cast<PyObject *>(&PyArray_Type), "__array_ufunc__");
  const bool same = own && own == numpys;
  Py_XDECREF(own), Py_XDECREF(numpys);
  PyErr_Clear();
  return same;
}

inline bool is_numpy_of(PyObject *o, int type) {
  return is_numpy(o) && PyArray_TYPE(array(o)) == type;
}

template <class T> T *data(PyObject *o) {
  return o ? static_cast<T *>(PyArray_DATA(array(o))) : nullptr;
}

// The expected shape of an array.
struct Shape {
  int axes = 0;
  npy_intp of[NPY_MAXDIMS];

  Shape(std::initializer_list<npy_intp> sizes) {
    for (npy_intp size : sizes) of[axes++] = size;
  }
  Shape(PyArrayObject *a, int first = 0,
        int last = NPY_MAXDIMS) { // of an array's axes [first, last)
    for (int i = first; i < PyArray_NDIM(a) && i < last; i++) of[axes++] = PyArray_DIM(a, i);
  }
  bool is_that_of(PyArrayObject *a) const {
    return PyArray_NDIM(a) == axes && PyArray_CompareLists(PyArray_DIMS(a), of, axes);
  }
};

// The range of memory that an array covers.
struct Extent {
  const char *from, *to;

  Extent(PyArrayObject *a) : from(PyArray_BYTES(a)), to(from) {
    if (!PyArray_SIZE(a)) return;
    for (int i = 0; i < PyArray_NDIM(a); i++) {
      const npy_intp reach = (PyArray_DIM(a, i) - 1) * PyArray_STRIDE(a, i);
      (reach < 0 ? from : to) += reach;
    }
    to += PyArray_ITEMSIZE(a);
  }
  bool overlaps(const Extent &other) const { return from < other.to && other.from < to; }
  bool operator==(const Extent &other) const { return from == other.from && to == other.to; }
};

// An owned reference to a Python object.
struct DecRef {
  void operator()(PyObject *o) const { Py_DECREF(o); }
};
using PyRef = std::unique_ptr<PyObject, DecRef>;

inline PyRef new_array(int type, const Shape &shape) {
  PyRef array(PyArray_SimpleNew(shape.axes, const_cast<npy_intp *>(shape.of), type));
  if (!array) throw PythonError();
  return array;
}

// Checks and converts the array arguments of one call, and owns the converted copies until it ends.
class ArrayArguments {
public:
  ArrayArguments() = default;
  ArrayArguments(const ArrayArguments &) = delete;

  // The array if it is contiguous, aligned and in native byte order, or a copy that is.
  PyArrayObject *contiguous(PyObject *o, int type) {
    if (PyArray_TYPE(array(o)) == type && PyArray_ISCARRAY_RO(array(o))) return array(o);
    PyRef copy(PyArray_FromAny(o, PyArray_DescrFromType(type), 0, 0,
                               NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST, nullptr));
    if (!copy) throw PythonError();
    converted.push_back(std::move(copy));
    return array(converted.back().get());
  }

  // The data of an input. Null for None, unless it is required.
  template <class T>
  const T *input(PyObject *o, const Shape &shape, const char *name, bool required = false) {
    if (o == Py_None && !required) return nullptr;
    check(o, type_of<T>, shape, name);
    PyArrayObject *a = contiguous(o, type_of<T>);
    remember(a);
    return static_cast<const T *>(PyArray_DATA(a));
  }

  // The data of an output, which shares no memory with the arguments checked so far, except that it
  // may be the very array at `in_place_of`. Null for None, unless it is required.
  template <class T>
  T *output(PyObject *o, const Shape &shape, const char *name, bool required = false,
            const T *in_place_of = nullptr) {
    if (o == Py_None && !required) return nullptr;
    check(o, type_of<T>, shape, name);
    if (!PyArray_ISWRITEABLE(array(o))) raise(PyExc_ValueError, "%s: it is read-only", name);
    if (!PyArray_ISCARRAY(array(o)))
      raise(PyExc_ValueError, "%s: expected an array in C order that can be written to as it lies",
            name);
    T *const result = data<T>(o);
    const Extent extent(array(o));
    for (PyArrayObject *other : seen)
      if (extent.overlaps(other) && !(in_place_of == result && extent == other))
        raise(PyExc_ValueError, "%s: it shares memory with another argument", name);
    remember(array(o));
    return result;
  }

  // The data of an array of integers of any dtype, from low to high. One out of range raises an
  // error of this kind. Null for None.
  const int64_t *integers(PyObject *o, const Shape &shape, npy_intp low, npy_intp high,
                          PyObject *kind, const char *name) {
    if (o == Py_None) return nullptr;
    if (!is_numpy(o) || !PyTypeNum_ISINTEGER(PyArray_TYPE(array(o))))
      raise(PyExc_ValueError, "%s: expected integers", name);
    if (!shape.is_that_of(array(o)))
      raise(PyExc_ValueError, "%s: its shape does not fit the others'", name);
    PyArrayObject *a = contiguous(o, NPY_INT64);
    remember(a);
    const int64_t *numbers = static_cast<const int64_t *>(PyArray_DATA(a));
    const bool wraps =
        PyTypeNum_ISUNSIGNED(PyArray_TYPE(array(o))); // numbers above int64's are negative now
    for (npy_intp i = 0, count = PyArray_SIZE(a); i < count; i++)
      if (numbers[i] < (wraps ? 0 : low) || numbers[i] > high) {
        if (wraps)
          raise(kind, "%s: expected %zd to %zd, got %llu", name, low, high,
                (unsigned long long)numbers[i]);
        raise(kind, "%s: expected %zd to %zd, got %lld", name, low, high, (long long)numbers[i]);
      }
    return numbers;
  }

  // The data of an array as booleans. Null for None.
  const bool *booleans(PyObject *o, const Shape &shape, const char *name) {
    if (o == Py_None) return nullptr;
    if (!is_numpy(o) || !(PyArray_ISBOOL(array(o)) || PyArray_ISNUMBER(array(o))))
      raise(PyExc_ValueError, "%s: expected booleans", name);
    if (!shape.is_that_of(array(o)))
      raise(PyExc_ValueError, "%s: its shape does not fit the others'", name);
    return static_cast<const bool *>(PyArray_DATA(contiguous(o, NPY_BOOL)));
  }

private:
  std::vector<PyRef> converted;
  std::vector<PyArrayObject *> seen;

  void remember(PyArrayObject *a) {
    if (seen.empty()) seen.reserve(32);
    seen.push_back(a);
  }

  static void check(PyObject *o, int type, const Shape &shape, const char *name) {
    if (!is_numpy(o))
      raise(PyExc_TypeError, "%s: expected an array, got %.100s", name, Py_TYPE(o)->tp_name);
    if (PyArray_TYPE(array(o)) != type)
      raise(PyExc_TypeError, "%s: its dtype does not fit the others'", name);
    if (!shape.is_that_of(array(o)))
      raise(PyExc_ValueError, "%s: its shape does not fit the others'", name);
  }
};

// Owns the arrays that a call creates: returned ones are referenced once more, the rest are freed.
class Results {
public:
  PyObject *array(int type, const Shape &shape) {
    objects.push_back(new_array(type, shape));
    return objects.back().get();
  }

private:
  std::vector<PyRef> objects;
};

PyObject *infer_stack(Arguments, Py_ssize_t);
PyObject *product(Arguments, Py_ssize_t);
PyObject *add_product(Arguments, Py_ssize_t);
PyObject *sum_of_products(Arguments, Py_ssize_t);
PyObject *pack(Arguments, Py_ssize_t);
PyObject *evaluate(Arguments, Py_ssize_t);
PyObject *cross_entropy(Arguments, Py_ssize_t);
PyObject *add_rows(Arguments, Py_ssize_t);
PyObject *sum_of_squares(Arguments, Py_ssize_t);
PyObject *adam(Arguments, Py_ssize_t);
PyObject *philox(Arguments, Py_ssize_t);

} // namespace tgrnn
