// What the Python faces of the kernels share.
#pragma once

#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL tinygrad_rnn_arrays
#include <Python.h>
#include <numpy/arrayobject.h>

#include <new>

#include "levels.hpp"

namespace tgrnn {

extern int asked_threads;

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

PyObject *product(PyObject *, PyObject *const *, Py_ssize_t);
PyObject *sum_of_products(PyObject *, PyObject *const *, Py_ssize_t);
PyObject *pack(PyObject *, PyObject *);
PyObject *evaluate(PyObject *, PyObject *const *, Py_ssize_t);
PyObject *cross_entropy(PyObject *, PyObject *const *, Py_ssize_t);
PyObject *adam(PyObject *, PyObject *const *, Py_ssize_t);

} // namespace tgrnn
