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

// Positions of the arguments that both functions begin with.
enum Argument { CELL, REVERSE, X, H0, C0, W_IH, W_HH, B_IH, B_HH, LENGTHS, RESET, H_MASK, COMMON };

// Threads that pay for themselves: a barrier costs what some thousand products cost.
int useful_threads(long steps, long batch, double work) {
  const int n = asked_threads;
  if (batch >= 2L * n) return steps * work > 1e6 ? n : 1;
  return work > 2e5 ? n : 1;
}

template <class T> Layer<T> layer(PyObject *const *a, Held &held) {
  constexpr int type = type_of<T>;
  PyArrayObject *x = reinterpret_cast<PyArrayObject *>(a[X]), *h0 = reinterpret_cast<PyArrayObject *>(a[H0]);
  Layer<T> l{};
  l.cell = static_cast<Cell>(PyLong_AsLong(a[CELL]));
  l.reverse = PyObject_IsTrue(a[REVERSE]);
  l.steps = PyArray_DIM(x, 0), l.batch = PyArray_DIM(x, 1), l.features = PyArray_DIM(x, 2);
  l.hidden = l.out = PyArray_DIM(h0, 1);
  const long G = gates(l.cell), B = l.batch, H = l.hidden;
  auto get = [&](Argument i, std::initializer_list<npy_intp> shape, const char *name) {
    return static_cast<const T *>(held.data(a[i], type, shape, name));
  };
  l.x = get(X, {l.steps, B, l.features}, "x");
  l.h0 = get(H0, {B, H}, "h0");
  l.c0 = get(C0, {B, H}, "c0");
  l.w_ih = get(W_IH, {G * H, l.features}, "w_ih");
  l.w_hh = get(W_HH, {G * H, H}, "w_hh");
  l.b_ih = get(B_IH, {G * H}, "b_ih");
  l.b_hh = get(B_HH, {G * H}, "b_hh");
  l.lengths = static_cast<const int64_t *>(held.data(a[LENGTHS], NPY_INT64, {B}, "lengths"));
  for (long b = 0; l.lengths && b < B; b++)
    if (l.lengths[b] < 0 || l.lengths[b] > l.steps) {
      PyErr_Format(PyExc_ValueError, "lengths: row %ld has %ld of %ld steps", b, (long)l.lengths[b], l.steps);
      throw 0;
    }
  l.reset = static_cast<const bool *>(held.data(a[RESET], NPY_BOOL, {l.steps, B}, "reset"));
  l.h_mask = get(H_MASK, {B, H}, "h_mask");
  l.threads = useful_threads(l.steps, B, 2.0 * G * H * H * B);
  return l;
}

// forward(cell, reverse, x, h0, c0, w_ih, w_hh, b_ih, b_hh, lengths, reset,
//         h_mask, keep, every_cell) -> (y, h_n, c_n, cs, gates, cells, tanh_cells)
template <class T> PyObject *forward(PyObject *const *a) {
  constexpr int type = type_of<T>;
  const Kernels &kernels = best_kernels();
  Held held;
  Made made;
  const Layer<T> l = layer<T>(a, held);
  const long T_ = l.steps, B = l.batch, V = sizeof(T) == 4 ? kernels.lanes_float : kernels.lanes_double;
  const long padded = (l.hidden + V - 1) / V * V;
  const bool lstm = l.cell == Cell::lstm, keep = PyObject_IsTrue(a[COMMON]), every = lstm && PyObject_IsTrue(a[COMMON + 1]);
  const int planes = saved_planes(l.cell);
  PyObject *y = made.array(type, {T_, B, l.out}), *h_n = made.array(type, {B, l.out});
  PyObject *c_n = lstm ? made.array(type, {B, l.hidden}) : nullptr;
  PyObject *cs = every ? made.array(type, {T_, B, l.hidden}) : nullptr;
  PyObject *gates = keep && planes ? made.array(type, {T_, B, planes * padded}) : nullptr;
  PyObject *cells = keep && lstm ? made.array(type, {T_, B, padded}) : nullptr;
  PyObject *tanh_cells = keep && lstm ? made.array(type, {T_, B, padded}) : nullptr;
  const Forward<T> out{data<T>(y), data<T>(h_n), data<T>(c_n), data<T>(cs), data<T>(gates), data<T>(cells), data<T>(tanh_cells)};
  without_lock([&] {
    if constexpr (sizeof(T) == 4)
      kernels.forward_float(l, out);
    else
      kernels.forward_double(l, out);
  });
  auto given = [](PyObject *o) { return o ? o : Py_None; };
  return PyTuple_Pack(7, y, h_n, given(c_n), given(cs), given(gates), given(cells), given(tanh_cells));
}

// backward(cell, reverse, x, h0, c0, w_ih, w_hh, b_ih, b_hh, lengths, reset, h_mask, needs, gy, gh, gc, gcs,
//          y, gates, cells, tanh_cells)
// -> (dx, dh0, dc0, dw_ih, dw_hh, db_ih, db_hh)
template <class T> PyObject *backward(PyObject *const *a) {
  constexpr int type = type_of<T>;
  const Kernels &kernels = best_kernels();
  Held held;
  Made made;
  const Layer<T> l = layer<T>(a, held);
  const long T_ = l.steps, B = l.batch, H = l.hidden, G = gates(l.cell);
  const long V = sizeof(T) == 4 ? kernels.lanes_float : kernels.lanes_double, padded = (H + V - 1) / V * V;
  const bool lstm = l.cell == Cell::lstm;
  const int planes = saved_planes(l.cell);
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
  if (!io.y || (planes && !io.gates) || (lstm && (!io.cells || !io.tanh_cells || !l.c0))) {
    PyErr_SetString(PyExc_TypeError, "backward: not what forward has saved");
    throw 0;
  }
  const long needs = PyLong_AsLong(a[COMMON]);
  PyObject *results[7] = {};
  auto result = [&](int i, std::initializer_list<npy_intp> shape) -> T * {
    return (needs >> i & 1) ? data<T>(results[i] = made.array(type, shape)) : nullptr;
  };
  io.dx = result(0, {T_, B, l.features});
  io.dh0 = result(1, {B, l.out});
  io.dc0 = lstm ? result(2, {B, H}) : nullptr;
  io.dw_ih = result(3, {G * H, l.features});
  io.dw_hh = result(4, {G * H, l.out});
  io.db_ih = result(5, {G * H});
  io.db_hh = result(6, {G * H});
  without_lock([&] {
    if constexpr (sizeof(T) == 4)
      kernels.backward_float(l, io);
    else
      kernels.backward_double(l, io);
  });
  PyObject *tuple = PyTuple_New(7);
  for (int i = 0; tuple && i < 7; i++) PyTuple_SET_ITEM(tuple, i, Py_NewRef(results[i] ? results[i] : Py_None));
  return tuple;
}

template <PyObject *(*Float)(PyObject *const *), PyObject *(*Double)(PyObject *const *), Py_ssize_t Count>
PyObject *call(PyObject *, PyObject *const *a, Py_ssize_t count) {
  try {
    if (count != Count || !PyArray_Check(a[X]) || !PyArray_Check(a[H0]) ||
        PyArray_NDIM(reinterpret_cast<PyArrayObject *>(a[X])) != 3 ||
        PyArray_NDIM(reinterpret_cast<PyArrayObject *>(a[H0])) != 2)
      return PyErr_Format(PyExc_TypeError, "expected %zd arguments, x (T, B, I) and h0 (B, H)", Count);
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
    {"backward", _PyCFunction_CAST((call<backward<float>, backward<double>, COMMON + 9>)), METH_FASTCALL, nullptr},
    {"product", _PyCFunction_CAST(product), METH_FASTCALL, nullptr},
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
