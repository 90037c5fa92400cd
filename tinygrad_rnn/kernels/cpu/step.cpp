// The Python face of a single step of plain layers. What it does not take it answers with None.
#define NO_IMPORT_ARRAY
#include "binding.hpp"

#include <algorithm>

namespace tgrnn {
namespace {

// The data of an array in C order that is the call's as it stands, without a conversion; else null.
template <class T> const T *plain(PyObject *o, std::initializer_list<npy_intp> shape) {
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
  const float *scales = plain<float>(of[2], {rows});
  const uint8_t *data = plain<uint8_t>(of[1], {rows, filled});
  return data && scales ? Rounded{data, scales} : Rounded{};
}

// step(cell, x (B, I), h (L, B, H), c or None, weights, rounded) -> (y, h, c), or None where that is not what
// was given.
//
// One step of L layers upon each other, of which nothing is saved. Weights: a tuple of each layer's
// w_ih, w_hh, and if there are as many b_ih and b_hh, layer after layer. Rounded: of each w_ih and w_hh the
// array that it was made from, whole numbers and scales, one after another; or None.
template <class T> PyObject *one_step(Cell cell, PyObject *const *a) {
  constexpr int type = type_of<T>;
  const Kernels &kernels = best_kernels();
  const npy_intp *of_x = PyArray_DIMS(reinterpret_cast<PyArrayObject *>(a[0])),
                 *of_h = PyArray_DIMS(reinterpret_cast<PyArrayObject *>(a[1]));
  const long B = of_x[0], L = of_h[0], H = of_h[2], G = gates(cell), count = PyTuple_GET_SIZE(a[3]);
  const bool lstm = cell == Cell::lstm;
  if (B < 1 || L < 1 || H < 1 || count % L || count / L < 2 || count / L > 4) Py_RETURN_NONE;
  Layer<T> l{};
  l.cell = cell, l.steps = 1, l.batch = B, l.features = of_x[1], l.hidden = l.out = H;
  l.threads = threads_for(1, B, 2.0 * G * H * H * B);
  l.x = plain<T>(a[0], {B, l.features}), l.h0 = plain<T>(a[1], {L, B, H});
  l.c0 = lstm ? plain<T>(a[2], {L, B, H}) : nullptr;
  if (!l.x || !l.features || !l.h0 || lstm != (a[2] != Py_None) || lstm != !!l.c0) Py_RETURN_NONE;
  std::vector<Layer<T>> layers;
  layers.reserve(L);
  for (long k = 0; k < L; k++) {
    PyObject *const *w = &PyTuple_GET_ITEM(a[3], k * (count / L));
    l.w_ih = plain<T>(w[0], {G * H, l.features}), l.w_hh = plain<T>(w[1], {G * H, H});
    l.b_ih = count / L > 2 ? plain<T>(w[2], {G * H}) : nullptr;
    l.b_hh = count / L > 3 ? plain<T>(w[3], {G * H}) : nullptr;
    if (!l.w_ih || !l.w_hh || (count / L > 2 && !l.b_ih) || (count / L > 3 && !l.b_hh)) Py_RETURN_NONE;
    if constexpr (sizeof(T) == 4) {
      l.w_ih.rounded = rounded(a[4], 2 * k, w[0], G * H, l.features);
      l.w_hh.rounded = rounded(a[4], 2 * k + 1, w[1], G * H, H);
    }
    layers.push_back(l);
    l.features = H;
  }
  Made made;
  PyObject *y = made.array(type, {B, H}), *h = made.array(type, {L, B, H});
  PyObject *c = lstm ? made.array(type, {L, B, H}) : nullptr;
  without_lock([&] {
    Forward<T> out{data<T>(y), data<T>(h), data<T>(c), nullptr, nullptr, nullptr, nullptr};
    for (Layer<T> &layer : layers) {
      if constexpr (sizeof(T) == 4)
        kernels.forward_float(layer, out);
      else
        kernels.forward_double(layer, out);
      const long k = &layer - layers.data();
      if (k + 1 == L) break;
      layers[k + 1].x = out.h_n, layers[k + 1].h0 = layer.h0 + B * H;
      if (lstm) layers[k + 1].c0 = layer.c0 + B * H, out.c_n += B * H;
      out.h_n += B * H;
    }
  });
  return PyTuple_Pack(3, y, h, c ? c : Py_None);
}

} // namespace

PyObject *step(PyObject *, PyObject *const *a, Py_ssize_t count) {
  const auto axes = [](PyObject *o) { return PyArray_CheckExact(o) ? PyArray_NDIM(reinterpret_cast<PyArrayObject *>(o)) : 0; };
  if (count != 6 || !PyTuple_Check(a[4])) return PyErr_Format(PyExc_TypeError, "expected cell, x, h, c, weights, rounded");
  if (axes(a[1]) != 2 || axes(a[2]) != 3) Py_RETURN_NONE;
  try {
    const Cell cell = static_cast<Cell>(PyLong_AsLong(a[0]));
    switch (PyArray_TYPE(reinterpret_cast<PyArrayObject *>(a[1]))) {
    case NPY_FLOAT: return one_step<float>(cell, a + 1);
    case NPY_DOUBLE: return one_step<double>(cell, a + 1);
    default: Py_RETURN_NONE;
    }
  } catch (int) {
    return nullptr;
  }
}

} // namespace tgrnn
