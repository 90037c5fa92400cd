// The Python face of the kernels: NumPy arrays in, NumPy arrays out.
//
// Shapes have been checked against the contract; what is checked here is what memory safety needs:
// one dtype, C order (a copy is made of anything else), sizes that belong together. NumPy's own C
// interface is used as it is: a call with fifteen arrays costs less than a microsecond.
#include "binding.hpp"

#include <algorithm>
#include <vector>

namespace tgrnn {

int asked_threads = 1;

namespace {

// Arrays in C order that live as long as the call.
class Held {
public:
  ~Held() {
    for (PyObject *o : objects) Py_DECREF(o);
  }

  // The data of an array of the given type and shape; null for None. Sets an error and throws else.
  void *data(PyObject *o, int type, std::initializer_list<npy_intp> shape, const char *name) {
    if (o == Py_None) return nullptr;
    if (!PyArray_Check(o)) return refuse(PyExc_TypeError, name, "expected an array or None");
    PyArrayObject *a = reinterpret_cast<PyArrayObject *>(o);
    if (PyArray_NDIM(a) != (int)shape.size() || !std::equal(shape.begin(), shape.end(), PyArray_DIMS(a)))
      return refuse(PyExc_ValueError, name, "its shape does not fit the others'");
    if (PyArray_TYPE(a) != type || !PyArray_ISCARRAY_RO(a)) {
      if (PyArray_TYPE(a) != type && (type == NPY_FLOAT || type == NPY_DOUBLE))
        return refuse(PyExc_TypeError, name, "expected the dtype of x");
      a = reinterpret_cast<PyArrayObject *>(
          PyArray_FromAny(o, PyArray_DescrFromType(type), 0, 0, NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST, nullptr));
      if (!a) throw 0;
      objects.push_back(reinterpret_cast<PyObject *>(a));
    }
    return PyArray_DATA(a);
  }

private:
  std::vector<PyObject *> objects;

  void *refuse(PyObject *kind, const char *name, const char *what) {
    PyErr_Format(kind, "%s: %s", name, what);
    throw 0;
  }
};

// Positions of the arguments that both functions begin with.
enum Argument {
  CELL, CELL_CLIP, REVERSE, X, IDS, H0, C0, W_IH, W_HH, B_IH, B_HH, W_HR, W_CH, LENGTHS, RESET, H_MASK, H_ZONE, C_ZONE, COMMON
};

// The i-th size of an array of so many axes; 0 if it is none.
long size(PyObject *o, int axes, int i) {
  if (!PyArray_Check(o) || PyArray_NDIM(reinterpret_cast<PyArrayObject *>(o)) != axes) return 0;
  return PyArray_DIM(reinterpret_cast<PyArrayObject *>(o), i);
}

template <class T> Layer<T> layer(PyObject *const *a, Held &held) {
  constexpr int type = type_of<T>;
  Layer<T> l{};
  l.cell = static_cast<Cell>(PyLong_AsLong(a[CELL]));
  l.cell_clip = a[CELL_CLIP] == Py_None ? T(0) : T(PyFloat_AsDouble(a[CELL_CLIP]));
  if (PyErr_Occurred()) throw 0;
  l.reverse = PyObject_IsTrue(a[REVERSE]);
  const bool table = a[IDS] != Py_None;
  l.steps = table ? size(a[IDS], 2, 0) : size(a[X], 3, 0), l.batch = table ? size(a[IDS], 2, 1) : size(a[X], 3, 1);
  l.entries = table ? size(a[X], 2, 0) : 0, l.features = table ? size(a[X], 2, 1) : size(a[X], 3, 2);
  l.out = size(a[H0], 2, 1);
  l.hidden = a[W_HR] == Py_None ? l.out : size(a[W_HR], 2, 1);
  const long G = gates(l.cell), B = l.batch, H = l.hidden, P = l.out;
  auto get = [&](Argument i, std::initializer_list<npy_intp> shape, const char *name) {
    return static_cast<const T *>(held.data(a[i], type, shape, name));
  };
  l.x = table ? get(X, {l.entries, l.features}, "x") : get(X, {l.steps, B, l.features}, "x");
  l.ids = static_cast<const int64_t *>(held.data(a[IDS], NPY_INT64, {l.steps, B}, "ids"));
  for (long i = 0; table && i < l.steps * B; i++)
    if (l.ids[i] < -l.entries || l.ids[i] >= l.entries) {
      PyErr_Format(PyExc_IndexError, "ids: %ld is outside a table of %ld rows", (long)l.ids[i], l.entries);
      throw 0;
    }
  l.h0 = get(H0, {B, P}, "h0");
  l.c0 = get(C0, {B, H}, "c0");
  l.w_ih = get(W_IH, {G * H, l.features}, "w_ih");
  l.w_hh = get(W_HH, {G * H, P}, "w_hh");
  l.b_ih = get(B_IH, {G * H}, "b_ih");
  l.b_hh = get(B_HH, {G * H}, "b_hh");
  l.w_hr = get(W_HR, {P, H}, "w_hr");
  l.w_ch = get(W_CH, {(G - 1) * H}, "w_ch");
  l.lengths = static_cast<const int64_t *>(held.data(a[LENGTHS], NPY_INT64, {B}, "lengths"));
  for (long b = 0; l.lengths && b < B; b++)
    if (l.lengths[b] < 0 || l.lengths[b] > l.steps) {
      PyErr_Format(PyExc_ValueError, "lengths: row %ld has %ld of %ld steps", b, (long)l.lengths[b], l.steps);
      throw 0;
    }
  l.reset = static_cast<const bool *>(held.data(a[RESET], NPY_BOOL, {l.steps, B}, "reset"));
  l.h_mask = get(H_MASK, {B, P}, "h_mask");
  auto zone = [&](Argument i, long width, const char *name) -> Zone<T> {
    const bool single = size(a[i], 3, 0) == 1 && size(a[i], 3, 1) == 1 && size(a[i], 3, 2) == 1;
    return {single ? get(i, {1, 1, 1}, name) : get(i, {l.steps, B, width}, name), single};
  };
  l.h_zone = zone(H_ZONE, P, "h_zone");
  l.c_zone = zone(C_ZONE, H, "c_zone");
  l.threads = threads_for(l.steps, B, 2.0 * G * H * P * B);
  return l;
}

// forward(those of `Argument`, keep, every_cell) -> (y, h_n, c_n, cs, gates, cells, tanh_cells, made_cells)
template <class T> PyObject *forward(PyObject *const *a) {
  constexpr int type = type_of<T>;
  const Kernels &kernels = best_kernels();
  Held held;
  Made made;
  const Layer<T> l = layer<T>(a, held);
  const long T_ = l.steps, B = l.batch, V = sizeof(T) == 4 ? kernels.lanes_float : kernels.lanes_double;
  const long padded = (l.hidden + V - 1) / V * V;
  const bool lstm = is_lstm(l.cell), keep = PyObject_IsTrue(a[COMMON]), every = lstm && PyObject_IsTrue(a[COMMON + 1]);
  const int planes = saved_planes(l);
  PyObject *y = made.array(type, {T_, B, l.out}), *h_n = made.array(type, {B, l.out});
  PyObject *c_n = lstm ? made.array(type, {B, l.hidden}) : nullptr;
  PyObject *cs = every ? made.array(type, {T_, B, l.hidden}) : nullptr;
  PyObject *gates = keep && planes ? made.array(type, {T_, B, planes * padded}) : nullptr;
  PyObject *cells = keep && lstm ? made.array(type, {T_, B, padded}) : nullptr;
  PyObject *tanh_cells = keep && lstm ? made.array(type, {T_, B, padded}) : nullptr;
  PyObject *made_cells = keep && saves_made_cells(l) ? made.array(type, {T_, B, padded}) : nullptr;
  const Forward<T> out{data<T>(y),     data<T>(h_n),   data<T>(c_n),        data<T>(cs),
                       data<T>(gates), data<T>(cells), data<T>(tanh_cells), data<T>(made_cells)};
  without_lock([&] {
    if constexpr (sizeof(T) == 4)
      kernels.forward_float(l, out);
    else
      kernels.forward_double(l, out);
  });
  auto given = [](PyObject *o) { return o ? o : Py_None; };
  return PyTuple_Pack(8, y, h_n, given(c_n), given(cs), given(gates), given(cells), given(tanh_cells), given(made_cells));
}

// backward(those of `Argument`, needs, gy, gh, gc, gcs, y, gates, cells, tanh_cells, made_cells)
// -> (dx, dh0, dc0, dw_ih, dw_hh, db_ih, db_hh, dw_hr, dw_ch)
template <class T> PyObject *backward(PyObject *const *a) {
  constexpr int type = type_of<T>;
  const Kernels &kernels = best_kernels();
  Held held;
  Made made;
  const Layer<T> l = layer<T>(a, held);
  const long T_ = l.steps, B = l.batch, H = l.hidden, G = gates(l.cell);
  const long V = sizeof(T) == 4 ? kernels.lanes_float : kernels.lanes_double, padded = (H + V - 1) / V * V;
  const bool lstm = is_lstm(l.cell);
  const int planes = saved_planes(l);
  auto get = [&](int i, std::initializer_list<npy_intp> shape, const char *name) {
    return static_cast<const T *>(held.data(a[COMMON + i], type, shape, name));
  };
  Backward<T> io{};
  io.gy = get(1, {T_, B, l.out}, "the cotangent of y");
  io.gh = get(2, {B, l.out}, "the cotangent of h_n");
  io.gc = get(3, {B, H}, "the cotangent of c_n");
  io.gcs = get(4, {T_, B, H}, "the cotangent of cs");
  io.y = get(5, {T_, B, l.out}, "y");
  io.gates = get(6, {T_, B, planes * padded}, "gates");
  io.cells = get(7, {T_, B, padded}, "cells");
  io.tanh_cells = get(8, {T_, B, padded}, "tanh_cells");
  io.made_cells = get(9, {T_, B, padded}, "made_cells");
  if (!io.y || (planes && !io.gates) || (lstm && (!io.cells || !io.tanh_cells || !l.c0)) || (saves_made_cells(l) && !io.made_cells)) {
    PyErr_SetString(PyExc_TypeError, "backward: not what forward has saved");
    throw 0;
  }
  const long needs = PyLong_AsLong(a[COMMON]);
  PyObject *results[9] = {};
  auto result = [&](int i, std::initializer_list<npy_intp> shape) -> T * {
    return (needs >> i & 1) ? data<T>(results[i] = made.array(type, shape)) : nullptr;
  };
  io.dx = l.ids ? result(0, {l.entries, l.features}) : result(0, {T_, B, l.features});
  io.dh0 = result(1, {B, l.out});
  io.dc0 = lstm ? result(2, {B, H}) : nullptr;
  io.dw_ih = result(3, {G * H, l.features});
  io.dw_hh = result(4, {G * H, l.out});
  io.db_ih = result(5, {G * H});
  io.db_hh = result(6, {G * H});
  io.dw_hr = l.w_hr ? result(7, {l.out, H}) : nullptr;
  io.dw_ch = l.w_ch ? result(8, {(G - 1) * H}) : nullptr;
  without_lock([&] {
    if constexpr (sizeof(T) == 4)
      kernels.backward_float(l, io);
    else
      kernels.backward_double(l, io);
  });
  PyObject *tuple = PyTuple_New(9);
  for (int i = 0; tuple && i < 9; i++) PyTuple_SET_ITEM(tuple, i, Py_NewRef(results[i] ? results[i] : Py_None));
  return tuple;
}

template <PyObject *(*Float)(PyObject *const *), PyObject *(*Double)(PyObject *const *), Py_ssize_t Count>
PyObject *call(PyObject *, PyObject *const *a, Py_ssize_t count) {
  try {
    if (count != Count || !PyArray_Check(a[X]) || !size(a[H0], 2, 0) || !(a[IDS] == Py_None ? size(a[X], 3, 0) : size(a[IDS], 2, 0)))
      return PyErr_Format(PyExc_TypeError, "expected %zd arguments, x (T, B, I), or ids (T, B), and h0 (B, H)", Count);
    switch (PyArray_TYPE(reinterpret_cast<PyArrayObject *>(a[X]))) {
    case NPY_FLOAT: return Float(a);
    case NPY_DOUBLE: return Double(a);
    default: return PyErr_Format(PyExc_TypeError, "x: expected float32 or float64");
    }
  } catch (int) {
    return nullptr;
  }
}

PyObject *set_num_threads(PyObject *, PyObject *n) {
  const long count = PyLong_AsLong(n);
  if (count == -1 && PyErr_Occurred()) return nullptr;
  if (count < 1 || count > 1024) return PyErr_Format(PyExc_ValueError, "expected 1 to 1024 threads, got %ld", count);
  asked_threads = (int)count;
  Py_RETURN_NONE;
}

PyObject *get_num_threads(PyObject *, PyObject *) { return PyLong_FromLong(asked_threads); }
PyObject *level(PyObject *, PyObject *) { return PyUnicode_FromString(best_kernels().name); }

PyMethodDef methods[] = {
    {"forward", _PyCFunction_CAST((call<forward<float>, forward<double>, COMMON + 2>)), METH_FASTCALL, nullptr},
    {"backward", _PyCFunction_CAST((call<backward<float>, backward<double>, COMMON + 10>)), METH_FASTCALL, nullptr},
    {"plain", _PyCFunction_CAST(plain), METH_FASTCALL, nullptr},
    {"cross_entropy", _PyCFunction_CAST(cross_entropy), METH_FASTCALL, nullptr},
    {"add_rows", _PyCFunction_CAST(add_rows), METH_FASTCALL, nullptr},
    {"sum_of_squares", sum_of_squares, METH_O, nullptr},
    {"adam", _PyCFunction_CAST(adam), METH_FASTCALL, nullptr},
    {"product", _PyCFunction_CAST(product), METH_FASTCALL, nullptr},
    {"add_product", _PyCFunction_CAST(add_product), METH_FASTCALL, nullptr},
    {"sum_of_products", _PyCFunction_CAST(sum_of_products), METH_FASTCALL, nullptr},
    {"evaluate", _PyCFunction_CAST(evaluate), METH_FASTCALL, nullptr},
    {"pack", pack, METH_O, nullptr},
    {"set_num_threads", set_num_threads, METH_O, nullptr},
    {"get_num_threads", get_num_threads, METH_NOARGS, nullptr},
    {"level", level, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};

} // namespace
} // namespace tgrnn

PyMODINIT_FUNC PyInit__native() {
  import_array();
  return PyModule_Create(&tgrnn::definition);
}
