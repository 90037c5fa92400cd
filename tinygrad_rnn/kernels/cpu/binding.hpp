// What the Python faces of the kernels share: what native code takes, and how it holds it.
//
// This is the one entrance. An array is taken if it is NumPy's memory of the right type; one that
// does not lie as the kernels read it (in C order, aligned, in the machine's byte order) is
// converted; what is written to must lie so by itself, and apart from all else. Anything that Python
// can pass ends here in an array that fits, in an error, or, where array code has to run, in None.
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

#include "levels.hpp"

namespace tgrnn {

struct Raised {};   // thrown where a Python error is set
struct Declined {}; // thrown where array code has to run

template <class... Values> [[noreturn]] void refuse(PyObject *kind, const char *format, Values... values) {
  PyErr_Format(kind, format, values...);
  throw Raised();
}

using Arguments = PyObject *const *;

// A function of Python's around one that throws.
template <PyObject *(*Function)(Arguments, Py_ssize_t)> PyObject *face(PyObject *, Arguments a, Py_ssize_t count) {
  try {
    return Function(a, count);
  } catch (const Raised &) {
    return nullptr;
  } catch (const Declined &) {
    Py_RETURN_NONE;
  } catch (const std::bad_alloc &) {
    return PyErr_NoMemory();
  }
}

extern int asked_threads;

// As many threads as were asked for, where they pay for themselves.
inline int threads_if(bool worth) { return worth ? asked_threads : 1; }

// For steps of so many operations each: a barrier costs what some thousand of them cost.
inline int threads_for(long steps, long batch, double work) {
  return threads_if(batch >= 2L * asked_threads ? steps * work > 1e6 : work > 2e5);
}

template <class T> constexpr int type_of = sizeof(T) == 1 ? NPY_UINT8 : sizeof(T) == 4 ? NPY_FLOAT : NPY_DOUBLE;

// Lets other Python threads run meanwhile.
template <class Work> void without_lock(Work work) {
  bool enough = true;
  Py_BEGIN_ALLOW_THREADS
  try {
    work();
  } catch (const std::bad_alloc &) {
    enough = false;
  }
  Py_END_ALLOW_THREADS
  if (!enough) throw std::bad_alloc();
}

// ---------------------------------------------------------------- numbers

inline long whole_number(PyObject *o) {
  const long n = PyLong_AsLong(o);
  if (n == -1 && PyErr_Occurred()) throw Raised();
  return n;
}

inline double real_number(PyObject *o) {
  const double x = PyFloat_AsDouble(o);
  if (x == -1 && PyErr_Occurred()) throw Raised();
  return x;
}

inline bool truth(PyObject *o) {
  const int is = PyObject_IsTrue(o);
  if (is < 0) throw Raised();
  return is;
}

inline npy_intp times(npy_intp a, npy_intp b) {
  npy_intp product;
  if (__builtin_mul_overflow(a, b, &product)) throw std::bad_alloc();
  return product;
}

// ---------------------------------------------------------------- arrays

inline PyArrayObject *array(PyObject *o) { return reinterpret_cast<PyArrayObject *>(o); }

// NumPy's memory, and nothing more. A subclass is, as np.memmap, if its arithmetic is NumPy's: that of
// np.matrix is not, nor that of a masked array.
inline bool is_memory(PyObject *o) {
  if (PyArray_CheckExact(o)) return true;
  if (!PyArray_Check(o) || Py_TYPE(o)->tp_as_number->nb_multiply != PyArray_Type.tp_as_number->nb_multiply) return false;
  PyObject *own = PyObject_GetAttrString(reinterpret_cast<PyObject *>(Py_TYPE(o)), "__array_ufunc__");
  PyObject *numpys = PyObject_GetAttrString(reinterpret_cast<PyObject *>(&PyArray_Type), "__array_ufunc__");
  const bool same = own && own == numpys;
  Py_XDECREF(own), Py_XDECREF(numpys);
  PyErr_Clear();
  return same;
}

inline bool is_memory_of(PyObject *o, int type) { return is_memory(o) && PyArray_TYPE(array(o)) == type; }

template <class T> T *data(PyObject *o) { return o ? static_cast<T *>(PyArray_DATA(array(o))) : nullptr; }

// The shape that an array is to have.
struct Shape {
  int axes = 0;
  npy_intp of[NPY_MAXDIMS];

  Shape(std::initializer_list<npy_intp> sizes) {
    for (npy_intp size : sizes) of[axes++] = size;
  }
  Shape(PyArrayObject *a, int first = 0, int last = NPY_MAXDIMS) { // that of an array, from one of its axes to another
    for (int i = first; i < PyArray_NDIM(a) && i < last; i++) of[axes++] = PyArray_DIM(a, i);
  }
  bool is_that_of(PyArrayObject *a) const { return PyArray_NDIM(a) == axes && PyArray_CompareLists(PyArray_DIMS(a), of, axes); }
};

// From where to where an array's memory reaches.
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

// A new reference, dropped if it is not released.
struct Drop {
  void operator()(PyObject *o) const { Py_DECREF(o); }
};
using Owned = std::unique_ptr<PyObject, Drop>;

inline Owned new_array(int type, const Shape &shape) {
  Owned made(PyArray_SimpleNew(shape.axes, const_cast<npy_intp *>(shape.of), type));
  if (!made) throw Raised();
  return made;
}

// The arrays that a call reads and writes to, held until it ends.
class Held {
public:
  Held() = default;
  Held(const Held &) = delete;

  // An array in C order, aligned, in the machine's byte order: as it is, or a copy.
  PyArrayObject *ordered(PyObject *o, int type) {
    if (PyArray_TYPE(array(o)) == type && PyArray_ISCARRAY_RO(array(o))) return array(o);
    Owned copy(PyArray_FromAny(o, PyArray_DescrFromType(type), 0, 0, NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST, nullptr));
    if (!copy) throw Raised();
    converted.push_back(std::move(copy));
    return array(converted.back().get());
  }

  // What is read: an array of T and of a shape; null for None, unless it is needed.
  template <class T> const T *read(PyObject *o, const Shape &shape, const char *name, bool needed = false) {
    if (o == Py_None && !needed) return nullptr;
    expect(o, type_of<T>, shape, name);
    PyArrayObject *a = ordered(o, type_of<T>);
    note(a);
    return static_cast<const T *>(PyArray_DATA(a));
  }

  // What is written to, which must lie as it should, apart from all else that the call has been given
  // so far; null for None, unless it is needed. In place of: what it may be the same memory as.
  template <class T> T *written(PyObject *o, const Shape &shape, const char *name, bool needed = false, const T *in_place_of = nullptr) {
    if (o == Py_None && !needed) return nullptr;
    expect(o, type_of<T>, shape, name);
    if (!PyArray_ISWRITEABLE(array(o))) refuse(PyExc_ValueError, "%s: it is read-only", name);
    if (!PyArray_ISCARRAY(array(o))) refuse(PyExc_ValueError, "%s: expected an array in C order that can be written to as it lies", name);
    T *const result = data<T>(o);
    const Extent mine(array(o));
    for (PyArrayObject *other : given)
      if (mine.overlaps(other) && !(in_place_of == result && mine == other)) refuse(PyExc_ValueError, "%s: it shares memory with another argument", name);
    note(array(o));
    return result;
  }

  // Whole numbers from low to high, of any type of integers; an error of a kind for others. Null for None.
  const int64_t *whole(PyObject *o, const Shape &shape, npy_intp low, npy_intp high, PyObject *kind, const char *name) {
    if (o == Py_None) return nullptr;
    if (!is_memory(o) || !PyTypeNum_ISINTEGER(PyArray_TYPE(array(o)))) refuse(PyExc_ValueError, "%s: expected whole numbers", name);
    if (!shape.is_that_of(array(o))) refuse(PyExc_ValueError, "%s: its shape does not fit the others'", name);
    PyArrayObject *a = ordered(o, NPY_INT64);
    note(a);
    const int64_t *numbers = static_cast<const int64_t *>(PyArray_DATA(a));
    const bool wraps = PyTypeNum_ISUNSIGNED(PyArray_TYPE(array(o))); // what int64 does not have is below 0 now
    for (npy_intp i = 0, count = PyArray_SIZE(a); i < count; i++)
      if (numbers[i] < (wraps ? 0 : low) || numbers[i] > high) {
        if (wraps) refuse(kind, "%s: expected %zd to %zd, got %llu", name, low, high, (unsigned long long)numbers[i]);
        refuse(kind, "%s: expected %zd to %zd, got %lld", name, low, high, (long long)numbers[i]);
      }
    return numbers;
  }

  // For each of an array whether it is true.
  const bool *truths(PyObject *o, const Shape &shape, const char *name) {
    if (o == Py_None) return nullptr;
    if (!is_memory(o) || !(PyArray_ISBOOL(array(o)) || PyArray_ISNUMBER(array(o)))) refuse(PyExc_ValueError, "%s: expected truths", name);
    if (!shape.is_that_of(array(o))) refuse(PyExc_ValueError, "%s: its shape does not fit the others'", name);
    return static_cast<const bool *>(PyArray_DATA(ordered(o, NPY_BOOL)));
  }

private:
  std::vector<Owned> converted;
  std::vector<PyArrayObject *> given;

  void note(PyArrayObject *a) {
    if (given.empty()) given.reserve(32);
    given.push_back(a);
  }

  static void expect(PyObject *o, int type, const Shape &shape, const char *name) {
    if (!is_memory(o)) refuse(PyExc_TypeError, "%s: expected an array, got %.100s", name, Py_TYPE(o)->tp_name);
    if (PyArray_TYPE(array(o)) != type) refuse(PyExc_TypeError, "%s: its dtype does not fit the others'", name);
    if (!shape.is_that_of(array(o))) refuse(PyExc_ValueError, "%s: its shape does not fit the others'", name);
  }
};

// Arrays that the call makes; all are dropped with it, and what is handed out is held once more.
class Made {
public:
  PyObject *array(int type, const Shape &shape) {
    objects.push_back(new_array(type, shape));
    return objects.back().get();
  }

private:
  std::vector<Owned> objects;
};

PyObject *plain(Arguments, Py_ssize_t);
PyObject *product(Arguments, Py_ssize_t);
PyObject *add_product(Arguments, Py_ssize_t);
PyObject *sum_of_products(Arguments, Py_ssize_t);
PyObject *pack(Arguments, Py_ssize_t);
PyObject *evaluate(Arguments, Py_ssize_t);
PyObject *cross_entropy(Arguments, Py_ssize_t);
PyObject *add_rows(Arguments, Py_ssize_t);
PyObject *sum_of_squares(Arguments, Py_ssize_t);
PyObject *adam(Arguments, Py_ssize_t);

} // namespace tgrnn
