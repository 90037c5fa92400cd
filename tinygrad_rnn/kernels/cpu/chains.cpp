// The Python face of chains of elementwise arithmetic. What it does not take it answers with None.
#define NO_IMPORT_ARRAY
#include "binding.hpp"

namespace tgrnn {
namespace {

constexpr int most = 255; // registers

// What the call says of its arrays.
struct Layout {
  const unsigned char *widths; // of how many results, side by side, each array is made
  int made;
  long columns;       // of what goes through; 0 where they are the inputs' own
  const char *starts; // longs: of the columns in each input, below 0 for all of it; or null
  PyObject *rooms;    // a tuple: for each array one to put it into, or None for a new one

  long start(int i) const {
    long from = -1;
    if (starts) memcpy(&from, starts + i * sizeof from, sizeof from); // bytes may lie anywhere
    return from;
  }
};

// An input of the chain's shape, or a row for all rows; or with a start, the columns from there on
// of an array that has more of them. Declined if it is none.
template <class T> Input<T> input(PyObject *given, const Shape &shape, long start, const Chain<T> &chain, Held &held) {
  PyArrayObject *a = array(given);
  const int axes = PyArray_NDIM(a), last = axes - 1;
  const bool full = axes == shape.axes && (!axes || PyArray_CompareLists(PyArray_DIMS(a), shape.of, last));
  if (!full && !(axes == 1 && shape.axes > 1)) throw Declined();
  const long columns = axes ? PyArray_DIM(a, last) : 1;
  if (start < 0 ? columns != chain.columns : columns - chain.columns < start) throw Declined();
  const bool rows = PyArray_ISBEHAVED_RO(a) && full && axes == 2 && PyArray_STRIDE(a, 1) == sizeof(T) && PyArray_STRIDE(a, 0) % (npy_intp)sizeof(T) == 0;
  const long down = !full ? 0 : rows ? PyArray_STRIDE(a, 0) / (npy_intp)sizeof(T) : columns;
  if (!rows) a = held.ordered(given, type_of<T>);
  return {static_cast<const T *>(PyArray_DATA(a)) + (start < 0 ? 0 : start), down};
}

// Whether an array has this shape, and may be written to as it lies, apart from others.
template <class T> bool fits(PyObject *o, const Shape &shape, PyObject *inputs, const std::vector<Owned> &made) {
  if (!is_memory_of(o, type_of<T>) || !PyArray_ISCARRAY(array(o)) || !shape.is_that_of(array(o))) return false;
  const Extent mine(array(o));
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(inputs); i++)
    if (mine.overlaps(array(PyTuple_GET_ITEM(inputs, i)))) return false;
  for (const Owned &other : made)
    if (mine.overlaps(array(other.get()))) return false;
  return true;
}

template <class T> PyObject *evaluated(Chain<T> &chain, const Layout &layout, PyObject *numbers, PyObject *arrays, void (*evaluate)(const Chain<T> &)) {
  T given[most];
  for (int i = 0; i < chain.number_count; i++) given[i] = (T)real_number(PyTuple_GET_ITEM(numbers, i));
  PyArrayObject *like = array(PyTuple_GET_ITEM(arrays, 0));
  for (int i = 1; i < chain.input_count; i++)
    if (PyArray_NDIM(array(PyTuple_GET_ITEM(arrays, i))) > PyArray_NDIM(like)) like = array(PyTuple_GET_ITEM(arrays, i));
  Shape shape(like);
  if (!PyArray_SIZE(like) || ((layout.columns || layout.made < chain.output_count) && !shape.axes)) throw Declined();
  if (layout.columns) shape.of[shape.axes - 1] = layout.columns;
  chain.columns = shape.axes ? shape.of[shape.axes - 1] : 1;
  chain.rows = PyArray_MultiplyList(shape.of, shape.axes ? shape.axes - 1 : 0);
  Held held;
  Input<T> inputs[most];
  bool flat = layout.made == chain.output_count;
  for (int i = 0; i < chain.input_count; i++) {
    inputs[i] = input(PyTuple_GET_ITEM(arrays, i), shape, layout.start(i), chain, held);
    flat = flat && inputs[i].down == chain.columns;
  }
  std::vector<Owned> made;
  made.reserve(layout.made);
  Output<T> outputs[most];
  for (int i = 0, next = 0; i < layout.made; i++) {
    const long width = times(layout.widths[i], chain.columns);
    if (shape.axes) shape.of[shape.axes - 1] = width;
    PyObject *room = i < PyTuple_GET_SIZE(layout.rooms) ? PyTuple_GET_ITEM(layout.rooms, i) : Py_None;
    made.push_back(fits<T>(room, shape, arrays, made) ? Owned(Py_NewRef(room)) : new_array(type_of<T>, shape));
    for (long at = 0; at < width; at += chain.columns) outputs[next++] = {data<T>(made[i].get()) + at, width};
  }
  if (flat) chain.columns *= chain.rows, chain.rows = 1;
  chain.inputs = inputs, chain.numbers = given, chain.outputs = outputs;
  without_lock([&] { evaluate(chain); });
  PyObject *tuple = PyTuple_New(layout.made);
  for (int i = 0; tuple && i < layout.made; i++) PyTuple_SET_ITEM(tuple, i, made[i].release());
  return tuple;
}

// Whether instructions and results read registers that are set, and set those that may be.
template <class T> bool sound(const Chain<T> &chain) {
  const int first = chain.input_count + chain.number_count;
  if (chain.input_count < 1 || first > chain.registers || chain.registers > most || chain.output_count > most) return false;
  bool set[most] = {};
  for (int i = 0; i < first; i++) set[i] = true;
  for (int i = 0; i < chain.length; i++) {
    const Instruction in = chain.code[i];
    if (in.code >= Code::count || in.a >= chain.registers || in.b >= chain.registers || in.to >= chain.registers || in.to < first) return false;
    if (!set[in.a] || !set[in.b]) return false;
    set[in.to] = true;
  }
  for (int i = 0; i < chain.output_count; i++)
    if (chain.results[i] >= chain.registers || !set[chain.results[i]]) return false;
  return true;
}

template <class T> PyObject *run(Arguments a, const Layout &layout, void (*evaluate)(const Chain<T> &)) {
  const Py_ssize_t numbers = PyTuple_GET_SIZE(a[2]), inputs = PyTuple_GET_SIZE(a[7]), results = PyBytes_GET_SIZE(a[3]);
  const long registers = whole_number(a[1]);
  Chain<T> chain{};
  chain.code = reinterpret_cast<const Instruction *>(PyBytes_AS_STRING(a[0]));
  chain.length = (int)(PyBytes_GET_SIZE(a[0]) / sizeof(Instruction));
  chain.results = reinterpret_cast<const unsigned char *>(PyBytes_AS_STRING(a[3]));
  const bool few = 0 < registers && registers <= most && numbers <= most && inputs <= most && results <= most;
  chain.registers = (int)registers, chain.number_count = (int)numbers, chain.input_count = (int)inputs, chain.output_count = (int)results;
  if (!few || PyBytes_GET_SIZE(a[0]) % sizeof(Instruction) || !sound(chain)) refuse(PyExc_ValueError, "evaluate: no such registers");
  return evaluated(chain, layout, a[2], a[7], evaluate);
}

} // namespace

// evaluate(code, registers, numbers, results, widths, columns, starts, inputs, rooms) -> arrays
PyObject *evaluate(Arguments a, Py_ssize_t count) {
  if (count != 9 || !PyBytes_Check(a[0]) || !PyTuple_Check(a[2]) || !PyBytes_Check(a[3]) || !PyBytes_Check(a[4]) || !PyBytes_Check(a[6]) ||
      !PyTuple_Check(a[7]) || !PyTuple_Check(a[8]))
    refuse(PyExc_TypeError, "evaluate: expected code, registers, numbers, results, widths, columns, starts, inputs and rooms");
  const Py_ssize_t inputs = PyTuple_GET_SIZE(a[7]), starts = PyBytes_GET_SIZE(a[6]), made = PyBytes_GET_SIZE(a[4]);
  const Layout layout{reinterpret_cast<const unsigned char *>(PyBytes_AS_STRING(a[4])), (int)made, whole_number(a[5]),
                      starts ? PyBytes_AS_STRING(a[6]) : nullptr, a[8]};
  Py_ssize_t results = 0;
  bool empty = false;
  for (Py_ssize_t i = 0; i < made; i++) results += layout.widths[i], empty = empty || !layout.widths[i];
  if (empty || layout.columns < 0 || results != PyBytes_GET_SIZE(a[3]) || (starts && starts != inputs * (Py_ssize_t)sizeof(long)))
    refuse(PyExc_ValueError, "evaluate: no such layout of arrays");
  int type = NPY_NOTYPE;
  for (Py_ssize_t i = 0; i < inputs; i++) {
    PyObject *o = PyTuple_GET_ITEM(a[7], i);
    if (!is_memory(o) || (i && PyArray_TYPE(array(o)) != type)) throw Declined();
    type = PyArray_TYPE(array(o));
  }
  const Kernels &kernels = best_kernels();
  if (type == NPY_FLOAT) return run<float>(a, layout, kernels.evaluate_float);
  if (type == NPY_DOUBLE) return run<double>(a, layout, kernels.evaluate_double);
  throw Declined();
}

} // namespace tgrnn
