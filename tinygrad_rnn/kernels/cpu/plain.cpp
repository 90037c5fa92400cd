// The Python face of plain layers in inference. What it does not take it answers with None.
#define NO_IMPORT_ARRAY
#include "binding.hpp"

#include <algorithm>

namespace tgrnn {
namespace {

// The data of an array in C order that is the call's as it stands, without a conversion; else null.
template <class T> const T *as_it_is(PyObject *o, std::initializer_list<npy_intp> shape) {
  if (!PyArray_CheckExact(o)) return nullptr;
  PyArrayObject *a = reinterpret_cast<PyArrayObject *>(o);
  const bool fits = PyArray_TYPE(a) == type_of<T> && PyArray_ISCARRAY_RO(a) && PyArray_NDIM(a) == (int)shape.size() &&
                    std::equal(shape.begin(), shape.end(), PyArray_DIMS(a));
  return fits ? static_cast<const T *>(PyArray_DATA(a)) : nullptr;
}

// Weights as whole numbers, from a tuple of (made from, whole numbers, scales) one after another, if they are
// still made from these and nobody can have written to them; else nothing.
Rounded rounded(PyObject *tuple, long n, PyObject *w, long rows, long depth) {
  if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) < 3 * n + 3) return {};
  PyObject *const *of = &PyTuple_GET_ITEM(tuple, 3 * n);
  if (of[0] != w || PyArray_ISWRITEABLE(reinterpret_cast<PyArrayObject *>(w))) return {};
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
template <class T> PyObject *layers_upon_each_other(Cell cell, long L, PyObject *x, PyObject *const *a) {
  constexpr int type = type_of<T>;
  const Kernels &kernels = best_kernels();
  PyArrayObject *of_x = reinterpret_cast<PyArrayObject *>(x);
  const int axes = PyArray_NDIM(of_x);
  const npy_intp *sizes = PyArray_DIMS(of_x) + axes - 2;
  const long T_ = axes == 3 ? sizes[-1] : 1, B = sizes[0], G = gates(cell), count = PyTuple_GET_SIZE(a[2]);
  const bool lstm = cell == Cell::lstm, begun = a[0] != Py_None;
  if (T_ < 1 || B < 1 || L < 1 || count % L || count / L < 2 || count / L > 4) Py_RETURN_NONE;
  PyObject *w_hh = PyTuple_GET_ITEM(a[2], 1);
  const long H = PyArray_CheckExact(w_hh) && PyArray_NDIM(reinterpret_cast<PyArrayObject *>(w_hh)) == 2
                     ? PyArray_DIM(reinterpret_cast<PyArrayObject *>(w_hh), 1) : 0;
  if (H < 1) Py_RETURN_NONE;
  Layer<T> l{};
  l.cell = cell, l.steps = T_, l.batch = B, l.features = sizes[1], l.hidden = l.out = H;
  l.threads = threads_for(T_, B, 2.0 * G * H * H * B);
  l.x = axes == 3 ? as_it_is<T>(x, {T_, B, l.features}) : as_it_is<T>(x, {B, l.features});
  l.h0 = begun ? as_it_is<T>(a[0], {L, B, H}) : nullptr;
  l.c0 = begun && lstm ? as_it_is<T>(a[1], {L, B, H}) : nullptr;
  if (!l.x || !l.features || begun != !!l.h0 || (begun && lstm) != (a[1] != Py_None) || (begun && lstm) != !!l.c0)
    Py_RETURN_NONE;
  std::vector<Layer<T>> layers;
  layers.reserve(L);
  for (long k = 0; k < L; k++) {
    PyObject *const *w = &PyTuple_GET_ITEM(a[2], k * (count / L));
    l.w_ih = as_it_is<T>(w[0], {G * H, l.features}), l.w_hh = as_it_is<T>(w[1], {G * H, H});
    l.b_ih = count / L > 2 ? as_it_is<T>(w[2], {G * H}) : nullptr;
    l.b_hh = count / L > 3 ? as_it_is<T>(w[3], {G * H}) : nullptr;
    if (!l.w_ih || !l.w_hh || (count / L > 2 && !l.b_ih) || (count / L > 3 && !l.b_hh)) Py_RETURN_NONE;
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
    const std::vector<T> zeros(begun ? 0 : B * H);
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

PyObject *plain(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 7 || !PyTuple_Check(a[5])) return PyErr_Format(PyExc_TypeError, "expected cell, layers, x, h, c, weights, rounded");
  if (!PyArray_CheckExact(a[2])) Py_RETURN_NONE;
  const int axes = PyArray_NDIM(reinterpret_cast<PyArrayObject *>(a[2])), type = PyArray_TYPE(reinterpret_cast<PyArrayObject *>(a[2]));
  if (axes < 2 || axes > 3 || (type != NPY_FLOAT && type != NPY_DOUBLE)) Py_RETURN_NONE;
  // In C order: a copy, where the batch comes first.
  PyObject *x = PyArray_FromAny(a[2], PyArray_DescrFromType(type), 0, 0, NPY_ARRAY_CARRAY_RO, nullptr), *result = nullptr;
  if (!x) return nullptr;
  try {
    const Cell cell = static_cast<Cell>(PyLong_AsLong(a[0]));
    const long layers = PyLong_AsLong(a[1]);
    result = type == NPY_FLOAT ? layers_upon_each_other<float>(cell, layers, x, a + 3) : layers_upon_each_other<double>(cell, layers, x, a + 3);
  } catch (int) {
  }
  Py_DECREF(x);
  return result;
}

} // namespace tgrnn
