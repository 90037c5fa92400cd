// What the Python faces of the kernels share.
#pragma once

#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL tinygrad_rnn_arrays
#include <Python.h>
#include <numpy/arrayobject.h>

#include <initializer_list>
#include <new>
#include <vector>

#include "levels.hpp"

namespace tgrnn {

extern int asked_threads;

// As many threads as were asked for, where they pay for themselves.
inline int threads_if(bool worth) { return worth ? asked_threads : 1; }

// For steps of so many operations each: a barrier costs what some thousand of them cost.
inline int threads_for(long steps, long batch, double work) {
  return threads_if(batch >= 2L * asked_threads ? steps * work > 1e6 : work > 2e5);
}

template <class T> constexpr int type_of = sizeof(T) == 1 ? NPY_UINT8 : sizeof(T) == 4 ? NPY_FLOAT : NPY_DOUBLE;

// Lets other Python threads run meanwhile. Sets an error and throws where memory is short.
template <class Work> void without_lock(Work work) {
  bool enough = true;
  Py_BEGIN_ALLOW_THREADS
  try {
    work();
  } catch (const std::bad_alloc &) {
    enough = false;
  }
  Py_END_ALLOW_THREADS
  if (!enough) {
    PyErr_NoMemory();
    throw 0;
  }
}

// Arrays that the call makes; what is not released is dropped with it.
class Made {
public:
  ~Made() {
    for (PyObject *o : objects) Py_XDECREF(o);
  }

  PyObject *array(int type, std::initializer_list<npy_intp> shape) {
    PyObject *o = PyArray_SimpleNew((int)shape.size(), const_cast<npy_intp *>(shape.begin()), type);
    if (!o) throw 0;
    objects.push_back(o);
    return o;
  }

private:
  std::vector<PyObject *> objects;
};

template <class T> T *data(PyObject *o) {
  return o ? static_cast<T *>(PyArray_DATA(reinterpret_cast<PyArrayObject *>(o))) : nullptr;
}

PyObject *plain(PyObject *, PyObject *const *, Py_ssize_t);
PyObject *product(PyObject *, PyObject *const *, Py_ssize_t);
PyObject *add_product(PyObject *, PyObject *const *, Py_ssize_t);
PyObject *sum_of_products(PyObject *, PyObject *const *, Py_ssize_t);
PyObject *pack(PyObject *, PyObject *);
PyObject *evaluate(PyObject *, PyObject *const *, Py_ssize_t);
PyObject *cross_entropy(PyObject *, PyObject *const *, Py_ssize_t);
PyObject *add_rows(PyObject *, PyObject *const *, Py_ssize_t);
PyObject *sum_of_squares(PyObject *, PyObject *);
PyObject *adam(PyObject *, PyObject *const *, Py_ssize_t);

} // namespace tgrnn
