// The Python binding of philox.hpp.
#define NO_IMPORT_ARRAY
#include "binding.hpp"

namespace tgrnn {

static uint64_t to_unsigned(PyObject *o) {
  const uint64_t n = PyLong_AsUnsignedLongLong(o);
  if (n == uint64_t(-1) && PyErr_Occurred()) throw PythonError();
  return n;
}

// philox(out, key, call, first, least): fills an array with the words, if it is of uint32, or of
// bool with whether they are at least `least`.
PyObject *philox(Arguments a, Py_ssize_t count) {
  if (count != 5) raise(PyExc_TypeError, "philox: expected 5 arguments, got %zd", count);
  if (!is_numpy(a[0]) || !(is_numpy_of(a[0], NPY_BOOL) || is_numpy_of(a[0], NPY_UINT32)))
    raise(PyExc_TypeError, "philox: expected an array of bool or uint32");
  PyArrayObject *out = array(a[0]);
  if (!PyArray_IS_C_CONTIGUOUS(out) || !PyArray_ISBEHAVED(out))
    raise(PyExc_ValueError, "philox: expected an array that is contiguous and writeable");
  Philox p{};
  p.key = to_unsigned(a[1]), p.call = to_unsigned(a[2]), p.first = to_unsigned(a[3]);
  const uint64_t least = to_unsigned(a[4]);
  if (least > UINT32_MAX) raise(PyExc_ValueError, "philox: least: expected 32 bits");
  p.least = uint32_t(least), p.count = PyArray_SIZE(out);
  void *data = PyArray_DATA(out);
  if (is_numpy_of(a[0], NPY_BOOL)) p.mask = static_cast<uint8_t *>(data);
  else p.words = static_cast<uint32_t *>(data);
  p.threads = threads_if(p.count > 200000);
  const Kernels &k = best_kernels();
  without_gil([&] { k.philox(p); });
  Py_RETURN_NONE;
}

} // namespace tgrnn
