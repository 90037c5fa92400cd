// The Python binding of inference: `infer_stack` runs a stack of layers without options in one call
// and saves nothing for a backward pass.
//
// Gives None for arrays that native code does not support or that do not fit each other: the caller
// then runs layer by layer, which checks its arguments and says what is wrong.
#define NO_IMPORT_ARRAY
#include "binding.hpp"

namespace tgrnn {
namespace {

// The data of an array of T and of this shape, contiguous or copied. Throws Unsupported for any
// other.
template <class T> const T *require(ArrayArguments &arrays, PyObject *o, const Shape &shape) {
  if (!is_numpy_of(o, type_of<T>) || !shape.is_that_of(array(o))) throw Unsupported();
  return static_cast<const T *>(PyArray_DATA(arrays.contiguous(o, type_of<T>)));
}

// The data of an array of T and of this shape that is contiguous as it is; null for any other.
template <class T> const T *contiguous_or_null(PyObject *o, const Shape &shape) {
  const bool fits =
      is_numpy_of(o, type_of<T>) && PyArray_ISCARRAY_RO(array(o)) && shape.is_that_of(array(o));
  return fits ? data<T>(o) : nullptr;
}

// The n-th matrix of a flat tuple of (weights, integers, scales), if it was quantized from w and w
// is read-only, so that it is still up to date; else none.
QuantizedMatrix quantized(PyObject *tuple, long n, PyObject *w, long rows, long depth) {
  if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) < 3 * n + 3) return {};
  PyObject *const *entry = &PyTuple_GET_ITEM(tuple, 3 * n);
  if (entry[0] != w || PyArray_ISWRITEABLE(array(w))) return {};
  const npy_intp padded = (depth + kQuantizedBlock - 1) / kQuantizedBlock * kQuantizedBlock;
  const float *scales = contiguous_or_null<float>(entry[2], {rows});
  const uint8_t *data = contiguous_or_null<uint8_t>(entry[1], {rows, padded});
  return data && scales ? QuantizedMatrix{data, scales} : QuantizedMatrix{};
}

// Sequences use quantized weights from this many recurrent weights on. Floats are packed once for
// all steps, and fewer of them stay in the cache, where they are faster.
constexpr long kMinQuantizedWeights = 1 << 17;

template <class T> PyObject *infer_layers(Cell cell, long L, PyArrayObject *x, Arguments a) {
  constexpr int type = type_of<T>;
  const Kernels &kernels = best_kernels();
  const int axes = PyArray_NDIM(x);
  const npy_intp *sizes = PyArray_DIMS(x) + axes - 2;
  const long T_ = axes == 3 ? sizes[-1] : 1, B = sizes[0], G = gates(cell),
             count = PyTuple_GET_SIZE(a[2]);
  const bool lstm = cell == Cell::lstm, has_state = a[0] != Py_None;
  // Without reset_after a GRU has one bias.
  if (!PyArray_SIZE(x) || L < 1 || count % L || count / L < 2 ||
      count / L > (cell == Cell::gru ? 3 : 4))
    throw Unsupported();
  if ((has_state && lstm) != (a[1] != Py_None)) throw Unsupported();
  PyObject *w_hh = PyTuple_GET_ITEM(a[2], 1);
  const long H = is_numpy(w_hh) && PyArray_NDIM(array(w_hh)) == 2 ? PyArray_DIM(array(w_hh), 1) : 0;
  if (H < 1) throw Unsupported();
  ArrayArguments arrays;
  Layer<T> l{};
  l.cell = cell, l.steps = T_, l.batch = B, l.features = sizes[1], l.hidden = l.out = H;
  l.threads = threads_for(T_, B, 2.0 * G * H * H * B);
  l.x = static_cast<const T *>(
      PyArray_DATA(arrays.contiguous(reinterpret_cast<PyObject *>(x), type)));
  l.h0 = has_state ? require<T>(arrays, a[0], {L, B, H}) : nullptr;
  l.c0 = has_state && lstm ? require<T>(arrays, a[1], {L, B, H}) : nullptr;
  std::vector<Layer<T>> layers;
  layers.reserve(L);
  for (long k = 0; k < L; k++) {
    PyObject *const *w = &PyTuple_GET_ITEM(a[2], k * (count / L));
    l.w_ih = require<T>(arrays, w[0], {G * H, l.features}),
    l.w_hh = require<T>(arrays, w[1], {G * H, H});
    l.b_ih = count / L > 2 ? require<T>(arrays, w[2], {G * H}) : nullptr;
    l.b_hh = count / L > 3 ? require<T>(arrays, w[3], {G * H}) : nullptr;
    if constexpr (sizeof(T) == 4)
      if (T_ == 1 || G * H * H >= kMinQuantizedWeights) {
        l.w_ih.quantized = quantized(a[3], 2 * k, w[0], G * H, l.features);
        l.w_hh.quantized = quantized(a[3], 2 * k + 1, w[1], G * H, H);
      }
    layers.push_back(l);
    l.features = H;
  }
  Results results;
  PyObject *y = axes == 3 ? results.array(type, {T_, B, H}) : results.array(type, {B, H}),
           *h = results.array(type, {L, B, H});
  PyObject *c = lstm ? results.array(type, {L, B, H}) : nullptr;
  without_gil([&] {
    const std::vector<T> zeros(has_state ? 0 : times(B, H));
    Forward<T> out{};
    out.y = data<T>(y);
    for (long k = 0; k < L; k++) {
      Layer<T> &layer = layers[k];
      if (k) layer.x = out.y; // in place: a step's inputs are read before its outputs are written
      layer.h0 = has_state ? l.h0 + k * B * H : zeros.data();
      if (lstm) layer.c0 = has_state ? l.c0 + k * B * H : zeros.data();
      out.h_n = data<T>(h) + k * B * H;
      if (lstm) out.c_n = data<T>(c) + k * B * H;
      if constexpr (sizeof(T) == 4) kernels.forward_float(layer, out);
      else kernels.forward_double(layer, out);
    }
  });
  return PyTuple_Pack(3, y, h, c ? c : Py_None);
}

} // namespace

// infer_stack(cell, layers, x, h, c, weights, quantized) -> (y, h, c), or None
//
// x: (T, B, I), or one step (B, I). h, and an LSTM's c: (L, B, H), or None for zeros. weights: a
// tuple of w_ih, w_hh[, b_ih[, b_hh]] of each layer in turn. quantized: a tuple of (weights,
// integers, scales) of w_ih and w_hh of each layer in turn, or None.
PyObject *infer_stack(Arguments a, Py_ssize_t count) {
  if (count != 7 || !PyTuple_Check(a[5]))
    raise(PyExc_TypeError, "infer_stack: expected cell, layers, x, h, c, weights and quantized");
  const long number = to_integer(a[0]), layers = to_integer(a[1]);
  if (number < 0 || number > (long)Cell::lstm)
    raise(PyExc_ValueError, "infer_stack: unknown cell %ld", number);
  if (!is_numpy(a[2]) || PyArray_NDIM(array(a[2])) < 2 || PyArray_NDIM(array(a[2])) > 3)
    throw Unsupported();
  const Cell cell = static_cast<Cell>(number);
  switch (PyArray_TYPE(array(a[2]))) {
  case NPY_FLOAT: return infer_layers<float>(cell, layers, array(a[2]), a + 3);
  case NPY_DOUBLE: return infer_layers<double>(cell, layers, array(a[2]), a + 3);
  default: throw Unsupported();
  }
}

} // namespace tgrnn
