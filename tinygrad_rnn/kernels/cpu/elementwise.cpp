// The Python binding of elementwise programs: `evaluate`.
//
// All inputs are NumPy arrays of one dtype, float32 or float64; those of fewer axes than the widest
// are one row that is broadcast. A malformed program raises; arrays that native code does not
// support give None, and the caller runs the instructions one by one.
#define NO_IMPORT_ARRAY
#include "binding.hpp"

namespace tgrnn {
namespace {

constexpr int kMaxRegisters = 255;

// Which columns of the inputs are read, and how results are placed in arrays.
struct Layout {
  const unsigned char *widths; // per output array: how many results lie side by side in it
  int arrays;                  // how many output arrays
  long columns;                // of a result; 0: as many as the inputs have
  const char
      *starts;   // longs, unaligned: the first column to read of each input, or -1 for all; or null
  PyObject *out; // a tuple: per output array one to write into, or None for a new one

  long start(int i) const {
    long column = -1;
    if (starts) memcpy(&column, starts + i * sizeof column, sizeof column);
    return column;
  }
};

// An input of the program's shape, or one row to broadcast; with a start >= 0 those columns of a
// wider array. Copies it unless its rows are contiguous.
template <class T>
Input<T> to_input(PyObject *o, const Shape &shape, long start, const ElementwiseProgram<T> &program,
                  ArrayArguments &arrays) {
  PyArrayObject *a = array(o);
  const int axes = PyArray_NDIM(a), last = axes - 1;
  const bool full =
      axes == shape.axes && (!axes || PyArray_CompareLists(PyArray_DIMS(a), shape.of, last));
  if (!full && !(axes == 1 && shape.axes > 1)) throw Unsupported();
  const long columns = axes ? PyArray_DIM(a, last) : 1;
  if (start < 0 ? columns != program.columns : columns - program.columns < start)
    throw Unsupported();
  const bool strided = PyArray_ISBEHAVED_RO(a) && full && axes == 2 &&
                       PyArray_STRIDE(a, 1) == sizeof(T) &&
                       PyArray_STRIDE(a, 0) % (npy_intp)sizeof(T) == 0;
  const long row_stride = !full     ? 0
                          : strided ? PyArray_STRIDE(a, 0) / (npy_intp)sizeof(T)
                                    : columns;
  if (!strided) a = arrays.contiguous(o, type_of<T>);
  return {static_cast<const T *>(PyArray_DATA(a)) + (start < 0 ? 0 : start), row_stride};
}

// Whether results can be written into an array: of this shape, contiguous, disjoint from all
// others.
template <class T>
bool fits(PyObject *o, const Shape &shape, PyObject *inputs, const std::vector<PyRef> &results) {
  if (!is_numpy_of(o, type_of<T>) || !PyArray_ISCARRAY(array(o)) || !shape.is_that_of(array(o)))
    return false;
  const Extent extent(array(o));
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(inputs); i++)
    if (extent.overlaps(array(PyTuple_GET_ITEM(inputs, i)))) return false;
  for (const PyRef &other : results)
    if (extent.overlaps(array(other.get()))) return false;
  return true;
}

// Binds a checked program to its arrays and runs it.
template <class T>
PyObject *run(ElementwiseProgram<T> &program, const Layout &layout, PyObject *constants,
              PyObject *inputs, void (*kernel)(const ElementwiseProgram<T> &)) {
  T values[kMaxRegisters];
  for (int i = 0; i < program.constant_count; i++)
    values[i] = (T)to_real(PyTuple_GET_ITEM(constants, i));
  PyArrayObject *widest = array(PyTuple_GET_ITEM(inputs, 0));
  for (int i = 1; i < program.input_count; i++)
    if (PyArrayObject *a = array(PyTuple_GET_ITEM(inputs, i));
        PyArray_NDIM(a) > PyArray_NDIM(widest))
      widest = a;
  Shape shape(widest);
  const bool side_by_side = layout.arrays < program.output_count;
  if (!PyArray_SIZE(widest) || ((layout.columns || side_by_side) && !shape.axes))
    throw Unsupported();
  if (layout.columns) shape.of[shape.axes - 1] = layout.columns;
  program.columns = shape.axes ? shape.of[shape.axes - 1] : 1;
  program.rows = PyArray_MultiplyList(shape.of, shape.axes ? shape.axes - 1 : 0);
  ArrayArguments arrays;
  Input<T> sources[kMaxRegisters];
  bool flat = !side_by_side; // all arrays contiguous: one long row
  for (int i = 0; i < program.input_count; i++) {
    sources[i] = to_input(PyTuple_GET_ITEM(inputs, i), shape, layout.start(i), program, arrays);
    flat = flat && sources[i].row_stride == program.columns;
  }
  std::vector<PyRef> results;
  results.reserve(layout.arrays);
  Output<T> outputs[kMaxRegisters];
  for (int i = 0, next = 0; i < layout.arrays; i++) {
    const long width = times(layout.widths[i], program.columns);
    if (shape.axes) shape.of[shape.axes - 1] = width;
    PyObject *out = i < PyTuple_GET_SIZE(layout.out) ? PyTuple_GET_ITEM(layout.out, i) : Py_None;
    results.push_back(fits<T>(out, shape, inputs, results) ? PyRef(Py_NewRef(out))
                                                           : new_array(type_of<T>, shape));
    for (long at = 0; at < width; at += program.columns)
      outputs[next++] = {data<T>(results[i].get()) + at, width};
  }
  if (flat) program.columns *= program.rows, program.rows = 1;
  program.inputs = sources, program.constants = values, program.outputs = outputs;
  without_gil([&] { kernel(program); });
  PyObject *tuple = PyTuple_New(layout.arrays);
  for (int i = 0; tuple && i < layout.arrays; i++) PyTuple_SET_ITEM(tuple, i, results[i].release());
  return tuple;
}

// Whether every register is set before it is read, and instructions set none but their own.
template <class T> bool is_valid(const ElementwiseProgram<T> &program) {
  const int first = program.input_count + program.constant_count, count = program.registers;
  if (program.input_count < 1 || first > count || count > kMaxRegisters ||
      program.output_count > kMaxRegisters)
    return false;
  bool set[kMaxRegisters] = {};
  for (int i = 0; i < first; i++) set[i] = true;
  for (int i = 0; i < program.length; i++) {
    const Instruction in = program.instructions[i];
    if (in.opcode >= Opcode::count || in.a >= count || in.b >= count || in.to >= count ||
        in.to < first)
      return false;
    if (!set[in.a] || !set[in.b]) return false;
    set[in.to] = true;
  }
  for (int i = 0; i < program.output_count; i++)
    if (program.results[i] >= count || !set[program.results[i]]) return false;
  return true;
}

template <class T>
PyObject *parse_and_run(Arguments a, const Layout &layout,
                        void (*kernel)(const ElementwiseProgram<T> &)) {
  const Py_ssize_t constants = PyTuple_GET_SIZE(a[2]), inputs = PyTuple_GET_SIZE(a[7]),
                   outputs = PyBytes_GET_SIZE(a[3]);
  const long registers = to_integer(a[1]);
  ElementwiseProgram<T> program{};
  program.instructions = reinterpret_cast<const Instruction *>(PyBytes_AS_STRING(a[0]));
  program.length = (int)(PyBytes_GET_SIZE(a[0]) / sizeof(Instruction));
  program.results = reinterpret_cast<const unsigned char *>(PyBytes_AS_STRING(a[3]));
  const bool few = 0 < registers && registers <= kMaxRegisters && constants <= kMaxRegisters &&
                   inputs <= kMaxRegisters && outputs <= kMaxRegisters;
  program.registers = (int)registers, program.constant_count = (int)constants;
  program.input_count = (int)inputs, program.output_count = (int)outputs;
  if (!few || PyBytes_GET_SIZE(a[0]) % sizeof(Instruction) || !is_valid(program))
    raise(PyExc_ValueError, "evaluate: registers: one is read before it is set, or does not exist");
  return run(program, layout, a[2], a[7], kernel);
}

} // namespace

// evaluate(instructions, registers, constants, results, widths, columns, starts, inputs, out) ->
// arrays
PyObject *evaluate(Arguments a, Py_ssize_t count) {
  if (count != 9 || !PyBytes_Check(a[0]) || !PyTuple_Check(a[2]) || !PyBytes_Check(a[3]) ||
      !PyBytes_Check(a[4]) || !PyBytes_Check(a[6]) || !PyTuple_Check(a[7]) || !PyTuple_Check(a[8]))
    raise(PyExc_TypeError, "evaluate: expected instructions, registers, constants, results, "
                           "widths, columns, starts, inputs and out");
  const Py_ssize_t inputs = PyTuple_GET_SIZE(a[7]), starts = PyBytes_GET_SIZE(a[6]),
                   arrays = PyBytes_GET_SIZE(a[4]);
  const Layout layout{reinterpret_cast<const unsigned char *>(PyBytes_AS_STRING(a[4])), (int)arrays,
                      to_integer(a[5]), starts ? PyBytes_AS_STRING(a[6]) : nullptr, a[8]};
  Py_ssize_t results = 0;
  bool empty = false;
  for (Py_ssize_t i = 0; i < arrays; i++)
    results += layout.widths[i], empty = empty || !layout.widths[i];
  const bool one_start_each = !starts || starts == inputs * (Py_ssize_t)sizeof(long);
  if (empty || layout.columns < 0 || results != PyBytes_GET_SIZE(a[3]) || !one_start_each)
    raise(PyExc_ValueError, "evaluate: layout: widths must add up to the number of results, with "
                            "one start for each input");
  int type = NPY_NOTYPE;
  for (Py_ssize_t i = 0; i < inputs; i++) {
    PyObject *o = PyTuple_GET_ITEM(a[7], i);
    if (!is_numpy(o) || (i && PyArray_TYPE(array(o)) != type)) throw Unsupported();
    type = PyArray_TYPE(array(o));
  }
  const Kernels &kernels = best_kernels();
  if (type == NPY_FLOAT) return parse_and_run<float>(a, layout, kernels.evaluate_float);
  if (type == NPY_DOUBLE) return parse_and_run<double>(a, layout, kernels.evaluate_double);
  throw Unsupported();
}

} // namespace tgrnn
