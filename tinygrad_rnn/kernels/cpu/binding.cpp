// The Python face of the layers, and the module.
//
// Shapes have been checked against the contract; here they are checked once more, as memory safety
// needs it. NumPy's own C interface is used as it is: a call with fifteen arrays costs less than a
// microsecond.
#include "binding.hpp"

#include <algorithm>

namespace tgrnn {

int asked_threads = 1;

namespace {

// Positions of the arguments that both functions begin with.
enum Argument {
  CELL, CELL_CLIP, REVERSE, X, IDS, H0, C0, W_IH, W_HH, B_IH, B_HH, W_HR, W_CH, LENGTHS, RESET, H_MASK, H_ZONE, C_ZONE, COMMON
};

// An argument that has to be an array of so many axes, none of them empty.
PyArrayObject *needed(PyObject *o, int axes, const char *name) {
  if (!is_memory(o)) refuse(PyExc_TypeError, "%s: expected an array, got %.100s", name, Py_TYPE(o)->tp_name);
  if (PyArray_NDIM(array(o)) != axes) refuse(PyExc_ValueError, "%s: expected %d axes, got %d", name, axes, PyArray_NDIM(array(o)));
  if (!PyArray_SIZE(array(o))) refuse(PyExc_ValueError, "%s: it is empty", name);
  return array(o);
}

template <class T> Layer<T> layer(Arguments a, Held &held) {
  Layer<T> l{};
  const long cell = whole_number(a[CELL]);
  if (cell < 0 || cell > (long)Cell::lstm_coupled) refuse(PyExc_ValueError, "there is no cell %ld", cell);
  l.cell = static_cast<Cell>(cell);
  if (a[CELL_CLIP] != Py_None) { // what rounds to 0 is still a clip
    l.cell_clip = std::max(T(real_number(a[CELL_CLIP])), std::numeric_limits<T>::denorm_min());
    if (!(real_number(a[CELL_CLIP]) > 0)) refuse(PyExc_ValueError, "cell_clip: expected more than 0");
  }
  l.reverse = truth(a[REVERSE]);
  const bool table = a[IDS] != Py_None;
  PyArrayObject *x = needed(a[X], table ? 2 : 3, "x"), *read = table ? needed(a[IDS], 2, "ids") : x, *h0 = needed(a[H0], 2, "h0");
  l.steps = PyArray_DIM(read, 0), l.batch = PyArray_DIM(read, 1);
  l.entries = table ? PyArray_DIM(x, 0) : 0, l.features = PyArray_DIM(x, table ? 1 : 2);
  l.out = PyArray_DIM(h0, 1);
  l.hidden = a[W_HR] == Py_None ? l.out : PyArray_DIM(needed(a[W_HR], 2, "w_hr"), 1);
  for (Argument i : {C0, W_HR, W_CH, C_ZONE})
    if (a[i] != Py_None && !is_lstm(l.cell)) refuse(PyExc_ValueError, "expected None of what only an LSTM has");
  const long G = gates(l.cell), B = l.batch, H = l.hidden, P = l.out;
  auto get = [&](Argument i, const Shape &shape, const char *name, bool needed = false) { return held.read<T>(a[i], shape, name, needed); };
  l.x = table ? get(X, {l.entries, l.features}, "x") : get(X, {l.steps, B, l.features}, "x");
  l.ids = held.whole(a[IDS], {l.steps, B}, 0, l.entries - 1, PyExc_IndexError, "ids");
  l.h0 = get(H0, {B, P}, "h0");
  l.c0 = get(C0, {B, H}, "c0", is_lstm(l.cell));
  l.w_ih = get(W_IH, {times(G, H), l.features}, "w_ih", true);
  l.w_hh = get(W_HH, {G * H, P}, "w_hh", true);
  l.b_ih = get(B_IH, {G * H}, "b_ih");
  l.b_hh = get(B_HH, {G * H}, "b_hh");
  l.w_hr = get(W_HR, {P, H}, "w_hr");
  l.w_ch = get(W_CH, {(G - 1) * H}, "w_ch");
  l.lengths = held.whole(a[LENGTHS], {B}, 0, l.steps, PyExc_ValueError, "lengths");
  l.reset = held.truths(a[RESET], {l.steps, B}, "reset");
  l.h_mask = get(H_MASK, {B, P}, "h_mask");
  auto zone = [&](Argument i, long width, const char *name) -> Zone<T> {
    const bool single = PyArray_Check(a[i]) && PyArray_NDIM(array(a[i])) == 3 && PyArray_SIZE(array(a[i])) == 1;
    return {single ? get(i, {1, 1, 1}, name) : get(i, {l.steps, B, width}, name), single};
  };
  l.h_zone = zone(H_ZONE, P, "h_zone");
  l.c_zone = zone(C_ZONE, H, "c_zone");
  l.threads = threads_for(l.steps, B, 2.0 * G * H * P * B);
  return l;
}

// forward(those of `Argument`, keep, every_cell) -> (y, h_n, c_n, cs, gates, cells, tanh_cells, made_cells)
template <class T> PyObject *forward(Arguments a) {
  constexpr int type = type_of<T>;
  const Kernels &kernels = best_kernels();
  Held held;
  Made made;
  const Layer<T> l = layer<T>(a, held);
  const long T_ = l.steps, B = l.batch, V = sizeof(T) == 4 ? kernels.lanes_float : kernels.lanes_double;
  const long padded = (l.hidden + V - 1) / V * V;
  const bool lstm = is_lstm(l.cell), keep = truth(a[COMMON]), every = lstm && truth(a[COMMON + 1]);
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
template <class T> PyObject *backward(Arguments a) {
  constexpr int type = type_of<T>;
  const Kernels &kernels = best_kernels();
  Held held;
  Made made;
  const Layer<T> l = layer<T>(a, held);
  const long T_ = l.steps, B = l.batch, H = l.hidden, G = gates(l.cell);
  const long V = sizeof(T) == 4 ? kernels.lanes_float : kernels.lanes_double, padded = (H + V - 1) / V * V;
  const bool lstm = is_lstm(l.cell);
  const int planes = saved_planes(l);
  auto get = [&](int i, const Shape &shape, const char *name, bool needed = false) { return held.read<T>(a[COMMON + i], shape, name, needed); };
  Backward<T> io{};
  io.gy = get(1, {T_, B, l.out}, "the cotangent of y");
  io.gh = get(2, {B, l.out}, "the cotangent of h_n");
  io.gc = get(3, {B, H}, "the cotangent of c_n");
  io.gcs = get(4, {T_, B, H}, "the cotangent of cs");
  io.y = get(5, {T_, B, l.out}, "y", true);
  io.gates = planes ? get(6, {T_, B, planes * padded}, "gates", true) : nullptr;
  io.cells = get(7, {T_, B, padded}, "cells", lstm);
  io.tanh_cells = get(8, {T_, B, padded}, "tanh_cells", lstm);
  io.made_cells = saves_made_cells(l) ? get(9, {T_, B, padded}, "made_cells", true) : nullptr;
  const long needs = whole_number(a[COMMON]);
  PyObject *results[9] = {};
  auto result = [&](int i, const Shape &shape) -> T * {
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

template <PyObject *(*Float)(Arguments), PyObject *(*Double)(Arguments), Py_ssize_t Count> PyObject *either(Arguments a, Py_ssize_t count) {
  if (count != Count) refuse(PyExc_TypeError, "expected %zd arguments, got %zd", Count, count);
  if (is_memory_of(a[X], NPY_FLOAT)) return Float(a);
  if (is_memory_of(a[X], NPY_DOUBLE)) return Double(a);
  refuse(PyExc_TypeError, "x: expected an array of float32 or float64");
}

// takes(read, written = ()) -> whether native code works on some arrays that it reads, None among them, and
// some that it writes to: all of one of its two dtypes, and what is written to in order and apart
PyObject *takes(Arguments a, Py_ssize_t count) {
  if (count < 1 || count > 2 || !PyTuple_Check(a[0]) || (count == 2 && !PyTuple_Check(a[1])))
    refuse(PyExc_TypeError, "takes: expected one or two tuples");
  int type = NPY_NOTYPE;
  for (int i = 0; i < count; i++)
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(a[i]); k++) {
      PyObject *o = PyTuple_GET_ITEM(a[i], k);
      if (o == Py_None) continue;
      if (!is_memory(o)) Py_RETURN_FALSE;
      if (type == NPY_NOTYPE) type = PyArray_TYPE(array(o));
      if (PyArray_TYPE(array(o)) != type || (type != NPY_FLOAT && type != NPY_DOUBLE)) Py_RETURN_FALSE;
    }
  for (Py_ssize_t k = 0; count == 2 && k < PyTuple_GET_SIZE(a[1]); k++) {
    PyObject *o = PyTuple_GET_ITEM(a[1], k);
    if (o == Py_None) continue;
    if (!PyArray_ISCARRAY_RO(array(o))) Py_RETURN_FALSE; // read-only: the call says so
    const Extent mine(array(o));
    for (int i = 0; i < 2; i++)
      for (Py_ssize_t j = 0; j < (i ? k : PyTuple_GET_SIZE(a[0])); j++) {
        PyObject *other = PyTuple_GET_ITEM(a[i], j);
        if (other != Py_None && mine.overlaps(array(other))) Py_RETURN_FALSE;
      }
  }
  return PyBool_FromLong(type != NPY_NOTYPE);
}

PyObject *set_num_threads(Arguments a, Py_ssize_t count) {
  if (count != 1) refuse(PyExc_TypeError, "set_num_threads: expected 1 argument");
  const long threads = whole_number(a[0]);
  if (threads < 1 || threads > 1024) refuse(PyExc_ValueError, "expected 1 to 1024 threads, got %ld", threads);
  asked_threads = (int)threads;
  Py_RETURN_NONE;
}

PyObject *get_num_threads(PyObject *, PyObject *) { return PyLong_FromLong(asked_threads); }
PyObject *level(PyObject *, PyObject *) { return PyUnicode_FromString(best_kernels().name); }

#define FACE(name, ...) {name, _PyCFunction_CAST(face<(__VA_ARGS__)>), METH_FASTCALL, nullptr}

PyMethodDef methods[] = {
    FACE("forward", either<forward<float>, forward<double>, COMMON + 2>),
    FACE("backward", either<backward<float>, backward<double>, COMMON + 10>),
    FACE("takes", takes),
    FACE("plain", plain),
    FACE("cross_entropy", cross_entropy),
    FACE("add_rows", add_rows),
    FACE("sum_of_squares", sum_of_squares),
    FACE("adam", adam),
    FACE("product", product),
    FACE("add_product", add_product),
    FACE("sum_of_products", sum_of_products),
    FACE("evaluate", evaluate),
    FACE("pack", pack),
    FACE("set_num_threads", set_num_threads),
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
