// The Python face of the layers' neighbours: arrays by the buffer protocol, with results in arrays
// that the caller made. What is checked here is what memory safety needs.
#define NO_IMPORT_ARRAY
#include "binding.hpp"

#include <memory>

namespace tgrnn {

namespace {

// An array in C order, held until the call ends.
class Buffer {
public:
  Buffer(PyObject *array, bool written = false) {
    if (PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (written ? PyBUF_WRITABLE : 0))) throw 0;
  }
  Buffer(const Buffer &) = delete;
  ~Buffer() { PyBuffer_Release(&view); }

  char type() const { return view.format && view.format[0] && !view.format[1] ? view.format[0] : 0; }
  long rows() const { return view.ndim ? view.shape[0] : 0; }
  long count() const { return view.len / view.itemsize; }

  // Its elements; throws unless it has so many, of one of the types that struct calls by these letters.
  void *data(const char *types, long expected, const char *name) const {
    for (; *types; types++)
      if (*types == type() && count() == expected) return view.buf;
    PyErr_Format(PyExc_ValueError, "%s: its type or size does not fit the others'", name);
    throw 0;
  }

private:
  Py_buffer view{};
};

int threads_for(long elements) { return threads_if(elements > 100000); }

template <class Work> PyObject *answered(Work work) {
  try {
    work();
  } catch (int) {
    return nullptr;
  }
  Py_RETURN_NONE;
}

template <class T> void cross_entropy(PyObject *const *a, const Buffer &x, const char *type, void (*kernel)(const Logits<T> &)) {
  const Buffer targets(a[1]);
  Logits<T> l{};
  l.x = static_cast<T *>(x.data(type, x.count(), "x"));
  l.rows = targets.count(), l.classes = l.rows ? x.count() / l.rows : 0;
  l.targets = static_cast<int64_t *>(targets.data("lq", l.rows, "targets"));
  for (long r = 0; r < l.rows; r++)
    if (l.targets[r] < 0 || l.targets[r] >= l.classes) {
      PyErr_Format(PyExc_IndexError, "target %ld is outside the %ld classes", (long)l.targets[r], l.classes);
      throw 0;
    }
  l.smoothing = T(PyFloat_AsDouble(a[3]));
  if (PyErr_Occurred()) throw 0;
  l.threads = threads_for(x.count());
  std::unique_ptr<Buffer> weights, losses, cotangent, sums;
  if (a[4] != Py_None) l.losses = static_cast<T *>((losses = std::make_unique<Buffer>(a[4], true))->data(type, l.rows, "losses"));
  if (a[2] != Py_None) {
    l.weights = static_cast<T *>((weights = std::make_unique<Buffer>(a[2]))->data(type, l.rows, "weights"));
    l.cotangent = static_cast<T *>((cotangent = std::make_unique<Buffer>(a[5], true))->data(type, l.rows * l.classes, "the cotangent"));
    if (a[6] != Py_None && l.rows) l.sums = static_cast<T *>((sums = std::make_unique<Buffer>(a[6], true))->data(type, l.classes, "sums"));
  }
  without_lock([&] { kernel(l); });
}

template <class T> void add_rows(PyObject *const *a, const Buffer &table, const char *type, void (*kernel)(const RowSums<T> &)) {
  const Buffer ids(a[1]), rows(a[2]);
  RowSums<T> s{};
  s.entries = table.rows(), s.count = ids.count(), s.width = s.entries ? table.count() / s.entries : 0;
  s.table = static_cast<T *>(table.data(type, table.count(), "table"));
  s.ids = static_cast<int64_t *>(ids.data("lq", s.count, "ids"));
  s.rows = static_cast<T *>(rows.data(type, s.count * s.width, "rows"));
  for (long i = 0; i < s.count; i++)
    if (s.ids[i] < -s.entries || s.ids[i] >= s.entries) {
      PyErr_Format(PyExc_IndexError, "index %ld is outside the %ld rows", (long)s.ids[i], s.entries);
      throw 0;
    }
  s.threads = threads_for(s.count * s.width);
  without_lock([&] { kernel(s); });
}

template <class T> double squares(const Buffer &x, const char *type, void (*kernel)(const Squares<T> &)) {
  double sum = 0;
  const Squares<T> s{static_cast<T *>(x.data(type, x.count(), "x")), x.count(), &sum, threads_for(x.count())};
  without_lock([&] { kernel(s); });
  return sum;
}

template <class T> void adam(PyObject *const *a, const Buffer &p, const char *type, void (*kernel)(const AdamStep<T> &)) {
  const Buffer g(a[1]), m(a[2], true), v(a[3], true);
  AdamStep<T> s{};
  s.count = p.count();
  auto of = [&](const Buffer &array, const char *name) { return static_cast<T *>(array.data(type, s.count, name)); };
  s.p = of(p, "p"), s.g = of(g, "g"), s.m = of(m, "m"), s.v = of(v, "v");
  T *const settings[] = {&s.b1, &s.b2, &s.rest1, &s.rest2, &s.shrink, &s.decay, &s.scale, &s.eps, &s.rate};
  for (int i = 0; i < 9; i++) *settings[i] = (T)PyFloat_AsDouble(a[4 + i]);
  if (PyErr_Occurred()) throw 0;
  s.threads = threads_for(s.count);
  without_lock([&] { kernel(s); });
}

} // namespace

// cross_entropy(x, targets, weights, smoothing, losses, x's cotangent, sums to which its rows are added):
// None for what is not wanted, and for the weights without a cotangent
PyObject *cross_entropy(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 7) return PyErr_Format(PyExc_TypeError, "cross_entropy: expected 7 arguments");
  return answered([&] {
    const Buffer x(a[0]);
    const Kernels &kernels = best_kernels();
    if (x.type() == 'd') return cross_entropy<double>(a, x, "d", kernels.cross_entropy_double);
    cross_entropy<float>(a, x, "f", kernels.cross_entropy_float);
  });
}

// add_rows(table, ids, rows)
PyObject *add_rows(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 3) return PyErr_Format(PyExc_TypeError, "add_rows: expected 3 arguments");
  return answered([&] {
    const Buffer table(a[0], true);
    const Kernels &kernels = best_kernels();
    if (table.type() == 'd') return add_rows<double>(a, table, "d", kernels.add_rows_double);
    add_rows<float>(a, table, "f", kernels.add_rows_float);
  });
}

// sum_of_squares(x) -> a number
PyObject *sum_of_squares(PyObject *, PyObject *array) {
  try {
    const Buffer x(array);
    const Kernels &kernels = best_kernels();
    const double sum = x.type() == 'd' ? squares<double>(x, "d", kernels.add_squares_double) : squares<float>(x, "f", kernels.add_squares_float);
    return PyFloat_FromDouble(sum);
  } catch (int) {
    return nullptr;
  }
}

// adam(p, g, m, v, b1, b2, 1 - b1, 1 - b2, shrink, decay, scale, eps, rate)
PyObject *adam(PyObject *, PyObject *const *a, Py_ssize_t count) {
  if (count != 13) return PyErr_Format(PyExc_TypeError, "adam: expected 13 arguments");
  return answered([&] {
    const Buffer p(a[0], true);
    const Kernels &kernels = best_kernels();
    if (p.type() == 'd') return adam<double>(a, p, "d", kernels.adam_double);
    adam<float>(a, p, "f", kernels.adam_float);
  });
}

} // namespace tgrnn
