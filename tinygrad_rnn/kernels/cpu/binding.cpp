// The Python bindings of the recurrent layers, and the module `_native`.
//
// Python has checked shapes against the contract (`contract.py`) with good messages; they are
// checked here again for memory safety. NumPy's C API is used directly: a call with fifteen arrays
// costs less than a microsecond.
#include "binding.hpp"

#include <algorithm>

namespace tgrnn {

int num_threads = 1;

namespace {

// Positions of the arguments that forward and backward share.
// clang-format off
enum Argument {
  CELL, X, H0, C0, W_IH, W_HH, B_IH, B_HH, W_HR, W_CH, OPTIONS, CELL_CLIP, COMMON
};
// clang-format on

// The fields of SequenceOptions in contract.py, a named tuple; the kernels have no others.
enum Option { LENGTHS, RESET, H_MASK, ZONEOUT, IDS, REVERSE, EVERY, KERNEL_OPTIONS };

// The fields of the options. They are borrowed, as the caller's tuple holds them.
struct Options {
  PyObject *tuple;

  explicit Options(PyObject *o) : tuple(o) {
    if (!PyTuple_Check(o) || PyTuple_GET_SIZE(o) < KERNEL_OPTIONS)
      raise(PyExc_TypeError, "options: expected a SequenceOptions, got %.100s",
            Py_TYPE(o)->tp_name);
    if (!PyTuple_Check((*this)[ZONEOUT]))
      raise(PyExc_TypeError, "zoneout: expected a tuple, got %.100s",
            Py_TYPE((*this)[ZONEOUT])->tp_name);
  }
  PyObject *operator[](Option i) const { return PyTuple_GET_ITEM(tuple, i); }
  // The zoneout of a leaf of the state, h or c.
  PyObject *zoneout(int leaf) const {
    PyObject *all = (*this)[ZONEOUT];
    return leaf < PyTuple_GET_SIZE(all) ? PyTuple_GET_ITEM(all, leaf) : Py_None;
  }
};

// A required argument: a non-empty array of so many axes.
PyArrayObject *require(PyObject *o, int axes, const char *name) {
  if (!is_numpy(o))
    raise(PyExc_TypeError, "%s: expected an array, got %.100s", name, Py_TYPE(o)->tp_name);
  if (PyArray_NDIM(array(o)) != axes)
    raise(PyExc_ValueError, "%s: expected %d axes, got %d", name, axes, PyArray_NDIM(array(o)));
  if (!PyArray_SIZE(array(o))) raise(PyExc_ValueError, "%s: it is empty", name);
  return array(o);
}

// Checks the shared arguments.
template <class T> Layer<T> layer(Arguments a, ArrayArguments &arrays) {
  Layer<T> l{};
  const long cell = to_integer(a[CELL]);
  if (cell < 0 || cell > (long)Cell::lstm_coupled)
    raise(PyExc_ValueError, "unknown cell %ld", cell);
  l.cell = static_cast<Cell>(cell);
  if (a[CELL_CLIP] != Py_None) { // one that rounds to 0 is still a clip
    l.cell_clip = std::max(T(to_real(a[CELL_CLIP])), std::numeric_limits<T>::denorm_min());
    if (!(to_real(a[CELL_CLIP]) > 0)) raise(PyExc_ValueError, "cell_clip: expected more than 0");
  }
  const Options options(a[OPTIONS]);
  l.reverse = boolean(options[REVERSE]);
  const bool table = options[IDS] != Py_None;
  PyArrayObject *x = require(a[X], table ? 2 : 3, "x"),
                *steps = table ? require(options[IDS], 2, "ids") : x, *h0 = require(a[H0], 2, "h0");
  l.steps = PyArray_DIM(steps, 0), l.batch = PyArray_DIM(steps, 1);
  l.entries = table ? PyArray_DIM(x, 0) : 0, l.features = PyArray_DIM(x, table ? 1 : 2);
  l.out = PyArray_DIM(h0, 1);
  l.hidden = a[W_HR] == Py_None ? l.out : PyArray_DIM(require(a[W_HR], 2, "w_hr"), 1);
  for (PyObject *o : {a[C0], a[W_HR], a[W_CH], options.zoneout(1)})
    if (o != Py_None && !is_lstm(l.cell))
      raise(PyExc_ValueError, "c0, w_hr, w_ch, c_zone: expected None, as only an LSTM has them");
  const long G = gates(l.cell), B = l.batch, H = l.hidden, P = l.out;
  auto get = [&](Argument i, const Shape &shape, const char *name, bool required = false) {
    return arrays.input<T>(a[i], shape, name, required);
  };
  l.x = table ? get(X, {l.entries, l.features}, "x") : get(X, {l.steps, B, l.features}, "x");
  l.ids = arrays.integers(options[IDS], {l.steps, B}, 0, l.entries - 1, PyExc_IndexError, "ids");
  l.h0 = get(H0, {B, P}, "h0");
  l.c0 = get(C0, {B, H}, "c0", is_lstm(l.cell));
  l.w_ih = get(W_IH, {times(G, H), l.features}, "w_ih", true);
  l.w_hh = get(W_HH, {G * H, P}, "w_hh", true);
  l.b_ih = get(B_IH, {G * H}, "b_ih");
  l.b_hh = get(B_HH, {G * H}, "b_hh");
  l.w_hr = get(W_HR, {P, H}, "w_hr");
  l.w_ch = get(W_CH, {(G - 1) * H}, "w_ch");
  l.lengths = arrays.integers(options[LENGTHS], {B}, 0, l.steps, PyExc_ValueError, "lengths");
  l.reset = arrays.booleans(options[RESET], {l.steps, B}, "reset");
  l.h_mask = arrays.input<T>(options[H_MASK], {B, P}, "h_mask");
  auto zoneout = [&](int leaf, long width, const char *name) -> Zoneout<T> {
    PyObject *o = options.zoneout(leaf);
    const bool scalar =
        PyArray_Check(o) && PyArray_NDIM(array(o)) == 3 && PyArray_SIZE(array(o)) == 1;
    return {arrays.input<T>(o, scalar ? Shape{1, 1, 1} : Shape{l.steps, B, width}, name), scalar};
  };
  l.h_zoneout = zoneout(0, P, "h_zone");
  l.c_zoneout = zoneout(1, H, "c_zone");
  l.threads = threads_for(l.steps, B, 2.0 * G * H * P * B);
  return l;
}

// forward(shared arguments, keep) -> (y, h_n, c_n, cs, gates, cells, tanh_cells,
// raw_cells)
template <class T> PyObject *forward(Arguments a) {
  constexpr int type = type_of<T>;
  const Kernels &kernels = best_kernels();
  ArrayArguments arrays;
  Results results;
  const Layer<T> l = layer<T>(a, arrays);
  const long T_ = l.steps, B = l.batch,
             V = sizeof(T) == 4 ? kernels.lanes_float : kernels.lanes_double;
  const long padded = (l.hidden + V - 1) / V * V;
  const bool lstm = is_lstm(l.cell), keep = boolean(a[COMMON]),
             every = lstm && boolean(Options(a[OPTIONS])[EVERY]);
  const int planes = saved_planes(l);
  PyObject *y = results.array(type, {T_, B, l.out}), *h_n = results.array(type, {B, l.out});
  PyObject *c_n = lstm ? results.array(type, {B, l.hidden}) : nullptr;
  PyObject *cs = every ? results.array(type, {T_, B, l.hidden}) : nullptr;
  PyObject *gates = keep && planes ? results.array(type, {T_, B, planes * padded}) : nullptr;
  PyObject *cells = keep && lstm ? results.array(type, {T_, B, padded}) : nullptr;
  PyObject *tanh_cells = keep && lstm ? results.array(type, {T_, B, padded}) : nullptr;
  PyObject *raw_cells = keep && saves_raw_cells(l) ? results.array(type, {T_, B, padded}) : nullptr;
  const Forward<T> out{data<T>(y),     data<T>(h_n),   data<T>(c_n),        data<T>(cs),
                       data<T>(gates), data<T>(cells), data<T>(tanh_cells), data<T>(raw_cells)};
  without_gil([&] {
    if constexpr (sizeof(T) == 4) kernels.forward_float(l, out);
    else kernels.forward_double(l, out);
  });
  auto or_none = [](PyObject *o) { return o ? o : Py_None; };
  return PyTuple_Pack(8, y, h_n, or_none(c_n), or_none(cs), or_none(gates), or_none(cells),
                      or_none(tanh_cells), or_none(raw_cells));
}

// backward(shared arguments, needs, gy, gh, gc, gcs, y, gates, cells, tanh_cells, raw_cells)
// -> (dx, dh0, dc0, dw_ih, dw_hh, db_ih, db_hh, dw_hr, dw_ch)
template <class T> PyObject *backward(Arguments a) {
  constexpr int type = type_of<T>;
  const Kernels &kernels = best_kernels();
  ArrayArguments arrays;
  Results results;
  const Layer<T> l = layer<T>(a, arrays);
  const long T_ = l.steps, B = l.batch, H = l.hidden, G = gates(l.cell);
  const long V = sizeof(T) == 4 ? kernels.lanes_float : kernels.lanes_double,
             padded = (H + V - 1) / V * V;
  const bool lstm = is_lstm(l.cell);
  const int planes = saved_planes(l);
  auto get = [&](int i, const Shape &shape, const char *name, bool required = false) {
    return arrays.input<T>(a[COMMON + i], shape, name, required);
  };
  Backward<T> io{};
  io.gy = get(1, {T_, B, l.out}, "the cotangent of y");
  io.gh = get(2, {B, l.out}, "the cotangent of h_n");
  io.gc = get(3, {B, H}, "the cotangent of c_n");
  io.gcs = get(4, {T_, B, H}, "the cotangent of cs");
  io.y = get(5, {T_, B, l.out}, "y", true);
  io.gates = planes ? get(6, {T_, B, planes * padded}, "gates", true) : nullptr;
  io.cells = get(7, {T_, B, padded}, "cells", lstm);
  io.tanh_cells = get(8, {T_, B, padded}, "tanh_cells", lstm);
  io.raw_cells = saves_raw_cells(l) ? get(9, {T_, B, padded}, "raw_cells", true) : nullptr;
  const long needs = to_integer(a[COMMON]);
  PyObject *gradients[9] = {};
  auto gradient = [&](int i, const Shape &shape) -> T * {
    return (needs >> i & 1) ? data<T>(gradients[i] = results.array(type, shape)) : nullptr;
  };
  io.dx = l.ids ? gradient(0, {l.entries, l.features}) : gradient(0, {T_, B, l.features});
  io.dh0 = gradient(1, {B, l.out});
  io.dc0 = lstm ? gradient(2, {B, H}) : nullptr;
  io.dw_ih = gradient(3, {G * H, l.features});
  io.dw_hh = gradient(4, {G * H, l.out});
  io.db_ih = gradient(5, {G * H});
  io.db_hh = gradient(6, {G * H});
  io.dw_hr = l.w_hr ? gradient(7, {l.out, H}) : nullptr;
  io.dw_ch = l.w_ch ? gradient(8, {(G - 1) * H}) : nullptr;
  without_gil([&] {
    if constexpr (sizeof(T) == 4) kernels.backward_float(l, io);
    else kernels.backward_double(l, io);
  });
  PyObject *tuple = PyTuple_New(9);
  for (int i = 0; tuple && i < 9; i++)
    PyTuple_SET_ITEM(tuple, i, Py_NewRef(gradients[i] ? gradients[i] : Py_None));
  return tuple;
}

// Calls the function of x's dtype.
template <PyObject *(*Float)(Arguments), PyObject *(*Double)(Arguments), Py_ssize_t Count>
PyObject *dispatch(Arguments a, Py_ssize_t count) {
  if (count != Count) raise(PyExc_TypeError, "expected %zd arguments, got %zd", Count, count);
  if (is_numpy_of(a[X], NPY_FLOAT)) return Float(a);
  if (is_numpy_of(a[X], NPY_DOUBLE)) return Double(a);
  raise(PyExc_TypeError, "x: expected an array of float32 or float64");
}

// supports(inputs, outputs = ()) -> whether native code supports these arrays: all float32 or all
// float64 (None entries are skipped), and outputs contiguous and disjoint from all others
PyObject *supports(Arguments a, Py_ssize_t count) {
  if (count < 1 || count > 2 || !PyTuple_Check(a[0]) || (count == 2 && !PyTuple_Check(a[1])))
    raise(PyExc_TypeError, "supports: expected one or two tuples");
  int type = NPY_NOTYPE;
  for (int i = 0; i < count; i++)
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(a[i]); k++) {
      PyObject *o = PyTuple_GET_ITEM(a[i], k);
      if (o == Py_None) continue;
      if (!is_numpy(o)) Py_RETURN_FALSE;
      if (type == NPY_NOTYPE) type = PyArray_TYPE(array(o));
      if (PyArray_TYPE(array(o)) != type || (type != NPY_FLOAT && type != NPY_DOUBLE))
        Py_RETURN_FALSE;
    }
  for (Py_ssize_t k = 0; count == 2 && k < PyTuple_GET_SIZE(a[1]); k++) {
    PyObject *o = PyTuple_GET_ITEM(a[1], k);
    if (o == Py_None) continue;
    if (!PyArray_ISCARRAY_RO(array(o)))
      Py_RETURN_FALSE; // a read-only one passes here: the call raises
    const Extent extent(array(o));
    for (int i = 0; i < 2; i++)
      for (Py_ssize_t j = 0; j < (i ? k : PyTuple_GET_SIZE(a[0])); j++) {
        PyObject *other = PyTuple_GET_ITEM(a[i], j);
        if (other != Py_None && extent.overlaps(array(other))) Py_RETURN_FALSE;
      }
  }
  return PyBool_FromLong(type != NPY_NOTYPE);
}

PyObject *set_num_threads(Arguments a, Py_ssize_t count) {
  if (count != 1) raise(PyExc_TypeError, "set_num_threads: expected 1 argument");
  const long threads = to_integer(a[0]);
  if (threads < 1 || threads > 1024)
    raise(PyExc_ValueError, "expected 1 to 1024 threads, got %ld", threads);
  num_threads = (int)threads;
  Py_RETURN_NONE;
}

PyObject *get_num_threads(PyObject *, PyObject *) { return PyLong_FromLong(num_threads); }
PyObject *level(PyObject *, PyObject *) { return PyUnicode_FromString(best_kernels().name); }

#define METHOD(name, ...) {name, _PyCFunction_CAST(fastcall<(__VA_ARGS__)>), METH_FASTCALL, nullptr}

PyMethodDef methods[] = {
    METHOD("forward", dispatch<forward<float>, forward<double>, COMMON + 1>),
    METHOD("backward", dispatch<backward<float>, backward<double>, COMMON + 10>),
    METHOD("supports", supports),
    METHOD("infer_stack", infer_stack),
    METHOD("cross_entropy", cross_entropy),
    METHOD("add_rows", add_rows),
    METHOD("sum_of_squares", sum_of_squares),
    METHOD("adam", adam),
    METHOD("philox", philox),
    METHOD("product", product),
    METHOD("add_product", add_product),
    METHOD("sum_of_products", sum_of_products),
    METHOD("evaluate", evaluate),
    METHOD("pack", pack),
    METHOD("set_num_threads", set_num_threads),
    {"get_num_threads", get_num_threads, METH_NOARGS, nullptr},
    {"level", level, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};

} // namespace
} // namespace tgrnn

PyMODINIT_FUNC PyInit__native() {
  import_array();
  return PyModule_Create(&tgrnn::definition);
}
