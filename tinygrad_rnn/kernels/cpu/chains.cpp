// The Python face of chains of elementwise arithmetic. What it does not take it answers with None.
#define NO_IMPORT_ARRAY
#include "binding.hpp"

namespace tgrnn {
namespace {

constexpr int most = 255; // registers

// Arrays that the call holds.
struct Arrays {
  PyObject *of[most];
  int count = 0;
  ~Arrays() {
    for (int i = 0; i < count; i++) Py_DECREF(of[i]);
  }
};

PyArrayObject *array(PyObject *o) { return reinterpret_cast<PyArrayObject *>(o); }

// The shape of all that a chain makes.
struct Shape {
  int axes;
  npy_intp of[NPY_MAXDIMS];
};

// An input of the chain's shape, or a row for all rows; or with a start, the columns from there on
// of an array that has more of them. False for anything else.
template <class T> bool input(PyArrayObject *a, const Shape &shape, long start, const Chain<T> &chain, Arrays &held, Input<T> &in) {
  const int axes = PyArray_NDIM(a), last = axes - 1;
  const bool full = axes == shape.axes && (!axes || PyArray_CompareLists(PyArray_DIMS(a), shape.of, last));
  if (!full && !(axes == 1 && shape.axes > 1)) return false;
  const long columns = axes ? PyArray_DIM(a, last) : 1;
  if (start < 0 ? columns != chain.columns : columns - chain.columns < start) return false;
  const bool rows = PyArray_ISBEHAVED_RO(a) && full && axes == 2 && PyArray_STRIDE(a, 1) == sizeof(T) && PyArray_STRIDE(a, 0) % sizeof(T) == 0;
  if (!rows && !PyArray_ISCARRAY_RO(a)) {
    a = array(PyArray_FromAny(reinterpret_cast<PyObject *>(a), PyArray_DescrFromType(type_of<T>), 0, 0, NPY_ARRAY_CARRAY_RO, nullptr));
    if (!a) return false;
    held.of[held.count++] = reinterpret_cast<PyObject *>(a);
  }
  in = {static_cast<const T *>(PyArray_DATA(a)) + (start < 0 ? 0 : start), !full ? 0 : rows ? (long)(PyArray_STRIDE(a, 0) / sizeof(T)) : columns};
  return true;
}

// Whether an array has this shape, and may be written to as it lies.
template <class T> bool fits(PyObject *o, const Shape &shape) {
  return PyArray_CheckExact(o) && PyArray_TYPE(array(o)) == type_of<T> && PyArray_ISCARRAY(array(o)) && PyArray_NDIM(array(o)) == shape.axes &&
         PyArray_CompareLists(PyArray_DIMS(array(o)), shape.of, shape.axes);
}

// What the call says of its arrays.
struct Layout {
  const unsigned char *widths; // of how many results, side by side, each array is made
  int made;
  long columns;       // of what goes through; 0 where they are the inputs' own
  const long *starts; // of the columns in each input, below 0 for all of it; or null
  PyObject *rooms;    // for each array one to put it into, or None for a new one; or no tuple
};

template <class T> PyObject *evaluated(Chain<T> &chain, const Layout &layout, PyObject *numbers, PyObject *arrays, void (*evaluate)(const Chain<T> &)) {
  PyArrayObject *like = array(PyTuple_GET_ITEM(arrays, 0));
  for (int i = 1; i < chain.input_count; i++)
    if (PyArray_NDIM(array(PyTuple_GET_ITEM(arrays, i))) > PyArray_NDIM(like)) like = array(PyTuple_GET_ITEM(arrays, i));
  Shape shape{PyArray_NDIM(like), {}};
  if (!PyArray_SIZE(like) || ((layout.columns || layout.made < chain.output_count) && !shape.axes)) return Py_NewRef(Py_None);
  chain.rows = chain.columns = 1;
  for (int i = 0; i < shape.axes; i++) {
    const bool last = i == shape.axes - 1;
    shape.of[i] = last && layout.columns ? layout.columns : PyArray_DIM(like, i);
    (last ? chain.columns : chain.rows) *= shape.of[i];
  }
  Arrays held, made;
  Input<T> inputs[most];
  bool flat = layout.made == chain.output_count;
  for (int i = 0; i < chain.input_count; i++) {
    if (!input(array(PyTuple_GET_ITEM(arrays, i)), shape, layout.starts ? layout.starts[i] : -1, chain, held, inputs[i])) return PyErr_Occurred() ? nullptr : Py_NewRef(Py_None);
    flat = flat && inputs[i].down == chain.columns;
  }
  T given[most];
  for (int i = 0; i < chain.number_count; i++) given[i] = (T)PyFloat_AsDouble(PyTuple_GET_ITEM(numbers, i));
  if (PyErr_Occurred()) return nullptr;
  Output<T> outputs[most];
  for (int i = 0, next = 0; i < layout.made; i++) {
    const long width = layout.widths[i] * chain.columns;
    if (shape.axes) shape.of[shape.axes - 1] = width;
    PyObject *room = PyTuple_Check(layout.rooms) && i < PyTuple_GET_SIZE(layout.rooms) ? PyTuple_GET_ITEM(layout.rooms, i) : Py_None;
    PyObject *o = fits<T>(room, shape) ? Py_NewRef(room) : PyArray_SimpleNew(shape.axes, shape.of, type_of<T>);
    if (!o) return nullptr;
    made.of[made.count++] = o;
    for (long at = 0; at < width; at += chain.columns) outputs[next++] = {static_cast<T *>(PyArray_DATA(array(o))) + at, width};
  }
  if (flat) chain.columns *= chain.rows, chain.rows = 1;
  chain.inputs = inputs, chain.numbers = given, chain.outputs = outputs;
  try {
    without_lock([&] { evaluate(chain); });
  } catch (int) {
    return nullptr;
  }
  PyObject *tuple = PyTuple_New(made.count);
  for (int i = 0; tuple && i < made.count; i++) PyTuple_SET_ITEM(tuple, i, Py_NewRef(made.of[i]));
  return tuple;
}

// Whether instructions and results name registers that there are.
template <class T> bool sound(const Chain<T> &chain) {
  const int set = chain.input_count + chain.number_count;
  for (int i = 0; i < chain.length; i++) {
    const Instruction in = chain.code[i];
    if (in.code >= Code::count || in.a >= chain.registers || in.b >= chain.registers || in.to >= chain.registers || in.to < set) return false;
  }
  for (int i = 0; i < chain.output_count; i++)
    if (chain.results[i] >= chain.registers) return false;
  return chain.input_count > 0 && set <= chain.registers && chain.registers <= most && chain.output_count <= most;
}

template <class T> PyObject *run(PyObject *const *args, const Layout &layout, void (*evaluate)(const Chain<T> &)) {
  Chain<T> chain{};
  chain.code = reinterpret_cast<const Instruction *>(PyBytes_AS_STRING(args[0]));
  chain.length = (int)(PyBytes_GET_SIZE(args[0]) / sizeof(Instruction));
  chain.registers = (int)PyLong_AsLong(args[1]);
  chain.number_count = (int)PyTuple_GET_SIZE(args[2]);
  chain.results = reinterpret_cast<const unsigned char *>(PyBytes_AS_STRING(args[3]));
  chain.output_count = (int)PyBytes_GET_SIZE(args[3]);
  chain.input_count = (int)PyTuple_GET_SIZE(args[7]);
  if (!sound(chain)) return PyErr_Format(PyExc_ValueError, "evaluate: no such registers");
  return evaluated(chain, layout, args[2], args[7], evaluate);
}

} // namespace

// evaluate(code, registers, numbers, results, widths, columns, starts, inputs, rooms) -> arrays
PyObject *evaluate(PyObject *, PyObject *const *args, Py_ssize_t count) {
  if (count != 9 || !PyBytes_Check(args[0]) || !PyTuple_Check(args[2]) || !PyBytes_Check(args[3]) || !PyBytes_Check(args[4]) ||
      !PyBytes_Check(args[6]) || !PyTuple_Check(args[7]))
    return PyErr_Format(PyExc_TypeError, "evaluate: expected code, registers, numbers, results, widths, columns, starts, inputs and rooms");
  const Py_ssize_t inputs = PyTuple_GET_SIZE(args[7]), starts = PyBytes_GET_SIZE(args[6]);
  const Layout layout{reinterpret_cast<const unsigned char *>(PyBytes_AS_STRING(args[4])), (int)PyBytes_GET_SIZE(args[4]), PyLong_AsLong(args[5]),
                      starts ? reinterpret_cast<const long *>(PyBytes_AS_STRING(args[6])) : nullptr, args[8]};
  Py_ssize_t results = 0;
  for (int i = 0; i < layout.made; i++) results += layout.widths[i];
  if (PyErr_Occurred() || layout.columns < 0 || results != PyBytes_GET_SIZE(args[3]) || (starts && starts != inputs * (Py_ssize_t)sizeof(long)))
    return PyErr_Format(PyExc_ValueError, "evaluate: no such layout of arrays");
  int type = NPY_NOTYPE;
  for (Py_ssize_t i = 0; i < inputs; i++) {
    PyObject *o = PyTuple_GET_ITEM(args[7], i);
    if (!PyArray_CheckExact(o) || (i && PyArray_TYPE(array(o)) != type)) return Py_NewRef(Py_None);
    type = PyArray_TYPE(array(o));
  }
  const Kernels &kernels = best_kernels();
  if (type == NPY_FLOAT) return run<float>(args, layout, kernels.evaluate_float);
  if (type == NPY_DOUBLE) return run<double>(args, layout, kernels.evaluate_double);
  return Py_NewRef(Py_None);
}

} // namespace tgrnn
