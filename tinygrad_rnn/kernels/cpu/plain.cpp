// The Python face of plain layers in inference. What it does not take it answers with None.
#define NO_IMPORT_ARRAY
#include "binding.hpp"

namespace tgrnn {
namespace {

// The data of an array of T and of a shape, in order; declined if it is none.
template <class T> const T *taken(Held &held, PyObject *o, const Shape &shape) {
  if (!is_memory_of(o, type_of<T>) || !shape.is_that_of(array(o))) throw Declined();
  return static_cast<const T *>(PyArray_DATA(held.ordered(o, type_of<T>)));
}

// The same of an array that lies in order by itself; null if it does not.
template <class T> const T *as_it_is(PyObject *o, const Shape &shape) {
  const bool fits = is_memory_of(o, type_of<T>) && PyArray_ISCARRAY_RO(array(o)) && shape.is_that_of(array(o));
  return fits ? data<T>(o) : nullptr;
}

// Weights as whole numbers, from a tuple of (made from, whole numbers, scales) one after another, if they are
// still made from these and nobody can have written to them; else nothing.
Rounded rounded(PyObject *tuple, long n, PyObject *w, long rows, long depth) {
  if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) < 3 * n + 3) return {};
  PyObject *const *of = &PyTuple_GET_ITEM(tuple, 3 * n);
  if (of[0] != w || PyArray_ISWRITEABLE(array(w))) return {};
  const npy_intp filled = (depth + rounded_block - 1) / rounded_block * rounded_block;
  const float *scales = as_it_is<float>(of[2], {rows});
  const uint8_t *data = as_it_is<uint8_t>(of[1], {rows, filled});
  return data && scales ? Rounded{data, scales} : Rounded{};
}

// From so many recurrent weights on, whole numbers are faster in sequences, too: floats are packed once for
// all steps, and those of fewer weights stay near.
constexpr long many_weights = 1 << 17;

// plain(cell, layers, x (T, B, I) or (B, I), h (L, B, H) or None, c, weights, rounded) -> (y, h, c), or None
// where that is not what was given.
//
// L layers upon each other over a sequence, or one step, of which nothing is saved; without h, and for an
// LSTM c, from zeros. Weights: a tuple of each layer's w_ih, w_hh, and if there are as many b_ih and b_hh,
// layer after layer. Rounded: of each w_ih and w_hh the array that it was made from, whole numbers and
// scales, one after another; or None.
template <class T> PyObject *layers_upon_each_other(Cell cell, long L, PyArrayObject *x, Arguments a) {
  constexpr int type = type_of<T>;
  const Kernels &kernels = best_kernels();
  const int axes = PyArray_NDIM(x);
  const npy_intp *sizes = PyArray_DIMS(x) + axes - 2;
  const long T_ = axes == 3 ? sizes[-1] : 1, B = sizes[0], G = gates(cell), count = PyTuple_GET_SIZE(a[2]);
  const bool lstm = cell == Cell::lstm, begun = a[0] != Py_None;
  // A GRU has a second bias only where it resets after the product.
  if (!PyArray_SIZE(x) || L < 1 || count % L || count / L < 2 || count / L > (cell == Cell::gru ? 3 : 4)) throw Declined();
  if ((begun && lstm) != (a[1] != Py_None)) throw Declined();
  PyObject *w_hh = PyTuple_GET_ITEM(a[2], 1);
  const long H = is_memory(w_hh) && PyArray_NDIM(array(w_hh)) == 2 ? PyArray_DIM(array(w_hh), 1) : 0;
  if (H < 1) throw Declined();
  Held held;
  Layer<T> l{};
  l.cell = cell, l.steps = T_, l.batch = B, l.features = sizes[1], l.hidden = l.out = H;
  l.threads = threads_for(T_, B, 2.0 * G * H * H * B);
  l.x = static_cast<const T *>(PyArray_DATA(held.ordered(reinterpret_cast<PyObject *>(x), type))); // a copy, where the batch comes first
  l.h0 = begun ? taken<T>(held, a[0], {L, B, H}) : nullptr;
  l.c0 = begun && lstm ? taken<T>(held, a[1], {L, B, H}) : nullptr;
  std::vector<Layer<T>> layers;
  layers.reserve(L);
  for (long k = 0; k < L; k++) {
    PyObject *const *w = &PyTuple_GET_ITEM(a[2], k * (count / L));
    l.w_ih = taken<T>(held, w[0], {G * H, l.features}), l.w_hh = taken<T>(held, w[1], {G * H, H});
    l.b_ih = count / L > 2 ? taken<T>(held, w[2], {G * H}) : nullptr;
    l.b_hh = count / L > 3 ? taken<T>(held, w[3], {G * H}) : nullptr;
    if constexpr (sizeof(T) == 4)
      if (T_ == 1 || G * H * H >= many_weights) {
        l.w_ih.rounded = rounded(a[3], 2 * k, w[0], G * H, l.features);
        l.w_hh.rounded = rounded(a[3], 2 * k + 1, w[1], G * H, H);
      }
    layers.push_back(l);
    l.features = H;
  }
  Made made;
  PyObject *y = axes == 3 ? made.array(type, {T_, B, H}) : made.array(type, {B, H}), *h = made.array(type, {L, B, H});
  PyObject *c = lstm ? made.array(type, {L, B, H}) : nullptr;
  without_lock([&] {
    const std::vector<T> zeros(begun ? 0 : times(B, H));
    Forward<T> out{};
    out.y = data<T>(y);
    for (long k = 0; k < L; k++) {
      Layer<T> &layer = layers[k];
      if (k) layer.x = out.y; // of the layer below; steps are written over when their products have been made
      layer.h0 = begun ? l.h0 + k * B * H : zeros.data();
      if (lstm) layer.c0 = begun ? l.c0 + k * B * H : zeros.data();
      out.h_n = data<T>(h) + k * B * H;
      if (lstm) out.c_n = data<T>(c) + k * B * H;
      if constexpr (sizeof(T) == 4)
        kernels.forward_float(layer, out);
      else
        kernels.forward_double(layer, out);
    }
  });
  return PyTuple_Pack(3, y, h, c ? c : Py_None);
}

} // namespace

PyObject *plain(Arguments a, Py_ssize_t count) {
  if (count != 7 || !PyTuple_Check(a[5])) refuse(PyExc_TypeError, "expected cell, layers, x, h, c, weights, rounded");
  const long number = whole_number(a[0]), layers = whole_number(a[1]);
  if (number < 0 || number > (long)Cell::lstm) refuse(PyExc_ValueError, "there is no plain cell %ld", number);
  if (!is_memory(a[2]) || PyArray_NDIM(array(a[2])) < 2 || PyArray_NDIM(array(a[2])) > 3) throw Declined();
  const Cell cell = static_cast<Cell>(number);
  switch (PyArray_TYPE(array(a[2]))) {
  case NPY_FLOAT: return layers_upon_each_other<float>(cell, layers, array(a[2]), a + 3);
  case NPY_DOUBLE: return layers_upon_each_other<double>(cell, layers, array(a[2]), a + 3);
  default: throw Declined();
  }
}

} // namespace tgrnn
