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

// An input of the chain's shape, or a row for all rows. False for anything else.
template <class T> bool input(PyArrayObject *a, PyArrayObject *shape, const Chain<T> &chain, Arrays &held, Input<T> &in) {
  const int axes = PyArray_NDIM(shape);
  const bool full = PyArray_SAMESHAPE(a, shape);
  if (!full && !(PyArray_NDIM(a) == 1 && axes > 1 && PyArray_DIM(a, 0) == chain.columns)) return false;
  const bool rows = PyArray_ISBEHAVED_RO(a) && full && axes == 2 && PyArray_STRIDE(a, 1) == sizeof(T) && PyArray_STRIDE(a, 0) % sizeof(T) == 0;
  if (!rows && !PyArray_ISCARRAY_RO(a)) {
    a = array(PyArray_FromAny(reinterpret_cast<PyObject *>(a), PyArray_DescrFromType(type_of<T>), 0, 0, NPY_ARRAY_CARRAY_RO, nullptr));
    if (!a) return false;
    held.of[held.count++] = reinterpret_cast<PyObject *>(a);
  }
  in = {static_cast<const T *>(PyArray_DATA(a)), !full ? 0 : rows ? (long)(PyArray_STRIDE(a, 0) / sizeof(T)) : chain.columns};
  return true;
}

template <class T> PyObject *evaluated(Chain<T> &chain, PyObject *numbers, PyObject *arrays, void (*evaluate)(const Chain<T> &)) {
  PyArrayObject *shape = array(PyTuple_GET_ITEM(arrays, 0));
  for (int i = 1; i < chain.input_count; i++)
    if (PyArray_NDIM(array(PyTuple_GET_ITEM(arrays, i))) > PyArray_NDIM(shape)) shape = array(PyTuple_GET_ITEM(arrays, i));
  const int axes = PyArray_NDIM(shape);
  chain.columns = axes ? PyArray_DIM(shape, axes - 1) : 1;
  if (!PyArray_SIZE(shape)) return Py_NewRef(Py_None);
  chain.rows = PyArray_SIZE(shape) / chain.columns;
  Arrays held, made;
  Input<T> inputs[most];
  bool flat = true;
  for (int i = 0; i < chain.input_count; i++) {
    if (!input(array(PyTuple_GET_ITEM(arrays, i)), shape, chain, held, inputs[i])) return PyErr_Occurred() ? nullptr : Py_NewRef(Py_None);
    flat = flat && inputs[i].down == chain.columns;
  }
  T given[most];
  for (int i = 0; i < chain.number_count; i++) given[i] = (T)PyFloat_AsDouble(PyTuple_GET_ITEM(numbers, i));
  if (PyErr_Occurred()) return nullptr;
  T *outputs[most];
  for (int i = 0; i < chain.output_count; i++) {
    PyObject *o = PyArray_SimpleNew(axes, PyArray_DIMS(shape), type_of<T>);
    if (!o) return nullptr;
    made.of[made.count++] = o;
    outputs[i] = static_cast<T *>(PyArray_DATA(array(o)));
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

template <class T> PyObject *run(PyObject *const *args, void (*evaluate)(const Chain<T> &)) {
  Chain<T> chain{};
  chain.code = reinterpret_cast<const Instruction *>(PyBytes_AS_STRING(args[0]));
  chain.length = (int)(PyBytes_GET_SIZE(args[0]) / sizeof(Instruction));
  chain.registers = (int)PyLong_AsLong(args[1]);
  chain.number_count = (int)PyTuple_GET_SIZE(args[2]);
  chain.results = reinterpret_cast<const unsigned char *>(PyBytes_AS_STRING(args[3]));
  chain.output_count = (int)PyBytes_GET_SIZE(args[3]);
  chain.input_count = (int)PyTuple_GET_SIZE(args[4]);
  if (!sound(chain)) return PyErr_Format(PyExc_ValueError, "evaluate: no such registers");
  return evaluated(chain, args[2], args[4], evaluate);
}

} // namespace

// evaluate(code, registers, numbers, results, inputs) -> arrays
PyObject *evaluate(PyObject *, PyObject *const *args, Py_ssize_t count) {
  if (count != 5 || !PyBytes_Check(args[0]) || !PyTuple_Check(args[2]) || !PyBytes_Check(args[3]) || !PyTuple_Check(args[4]))
    return PyErr_Format(PyExc_TypeError, "evaluate: expected code, registers, numbers, results and inputs");
  const Py_ssize_t inputs = PyTuple_GET_SIZE(args[4]);
  int type = NPY_NOTYPE;
  for (Py_ssize_t i = 0; i < inputs; i++) {
    PyObject *o = PyTuple_GET_ITEM(args[4], i);
    if (!PyArray_CheckExact(o) || (i && PyArray_TYPE(array(o)) != type)) return Py_NewRef(Py_None);
    type = PyArray_TYPE(array(o));
  }
  const Kernels &kernels = best_kernels();
  if (type == NPY_FLOAT) return run<float>(args, kernels.evaluate_float);
  if (type == NPY_DOUBLE) return run<double>(args, kernels.evaluate_double);
  return Py_NewRef(Py_None);
}

} // namespace tgrnn
