// The product of two matrices: blocks of the right one are packed, and rows of the left one swept through them.
//
// The left matrix is read where it lies, unless its columns are what is contiguous. Threads divide
// the columns or the rows of the result, each with panels of its own: none waits for another, and
// every element is summed in the same order whatever their number.
#pragma once

#include "matrices.hpp"
#include "memory.hpp"
#include "pool.hpp"
#include "product.hpp"

namespace tgrnn::LEVEL {

constexpr long ahead = 8; // terms of the sums whose operands are fetched while those of one are copied

// Where what belongs to the k-th term begins.
template <class T> inline const T *line(const Matrix<T> &m, long k, long stride) { return m.lines ? m.lines[k] : m.data + k * stride; }

// Some rows of a matrix, in panels or about to be.
template <class T> struct Block : Panels<T> {
  static constexpr int V = lanes<T>;
  long above = 0, step = 1; // rows of the panels above these; from one row's number to the next, in what multiplies

  Block(long depth, long columns, T *data) : Panels<T>(depth, parts(columns, V)) {
    this->data = data;
  }

  void pack(const Matrix<T> &b, long first_row, long first_column) {
    if (b.right != 1) {
      for (long v = 0; v < this->vectors; v++) {
        long stride;
        T *to = this->column(v, stride);
        const long at = first_column + v * V;
        pack_turned(to, stride, b.data + first_row + at * b.right, b.right, (int)smaller(V, b.columns - at), this->depth);
      }
      return;
    }
    const long whole = (b.columns - first_column) / V; // vectors
    for (long k = 0; k < this->depth; k++) {
      const T *from = line(b, first_row + k, b.down) + first_column;
      const T *soon = line(b, first_row + smaller(k + ahead, this->depth - 1), b.down) + first_column;
      for (long p = 0; p < this->count(); p++) {
        const int width = this->width(p);
        T *to = this->panel(p) + k * width * V;
        for (long v = 0, at = p * widest; v < width; v++, at++) {
          __builtin_prefetch(soon + at * V);
          store(to + v * V, at < whole ? load(from + at * V) : load(from + at * V, (int)(b.columns - first_column - at * V)));
        }
      }
    }
  }

  void multiply(long p, int width, const T *const *a, int rows, long depth, T *tile) const {
    table<T>.of[width - 1][rows - 1](depth, a, step, this->panel(p) + above * width * V, tile);
  }
};

template <class T> class MatrixProduct {
public:
  static constexpr int V = lanes<T>;
  static constexpr long near = 96;               // rows that stay near while all panels pass
  static constexpr long deep = 2048 / sizeof(T); // terms and vectors of a block: half a megabyte
  static constexpr long wide = 256 / V;
  static constexpr long apart = near + V; // of the terms of what stays near: an odd number of cache lines

  MatrixProduct(const Product<T> &product) : product(product), a(product.a), b(product.b) {}

  void run() {
    const long block = smaller(deep, a.columns) * smaller(wide, parts(b.columns, V)) * V;
    if (!product.packed) blocks = scratch.take<T>(block * product.threads);
    if (turned()) lefts = scratch.take<T>(deep * apart * product.threads);
    each = block;
    tgrnn::run(product.threads, [](void *self, Team &team, int id) { static_cast<MatrixProduct *>(self)->part(team.size, id); }, this);
  }

private:
  const Product<T> &product;
  const Matrix<T> &a, &b;
  Scratch scratch;
  T *blocks = nullptr, *lefts = nullptr;
  long each;

  bool turned() const { return a.lines || (a.right != 1 && a.down == 1); }

  void part(int threads, int id) {
    const long panels = parts(b.columns, widest * V);
    if (panels >= 2 * threads || a.rows < tallest * threads)
      multiply(id, 0, a.rows, panels * id / threads, panels * (id + 1) / threads);
    else
      multiply(id, a.rows * id / threads, a.rows * (id + 1) / threads, 0, panels);
  }

  // Some rows of the result, and some panels of its columns.
  void multiply(int id, long from, long to, long first, long last) {
    if (product.packed)
      for (long k = 0; k < a.columns; k += deep) {
        Block<T> all(a.columns, b.columns, const_cast<T *>(b.data));
        all.above = k;
        add(id, all, from, to, first, last, 0, k, smaller(deep, a.columns - k));
      }
    else
      for (long p = first; p < last; p += wide / widest)
        for (long k = 0; k < a.columns; k += deep) {
          const long column = p * widest * V, end = smaller(b.columns, smaller(last, p + wide / widest) * widest * V);
          Block<T> block(smaller(deep, a.columns - k), end - column, blocks + id * each);
          block.pack(b, k, column);
          add(id, block, from, to, 0, block.count(), column, k, block.depth);
        }
  }

  // Some rows that are columns in memory, one beside the other.
  void gather(T *to, long m, long some, long k, long depth) {
    for (long end = k + depth; k < end; k++, to += apart) {
      const T *from = line(a, k, a.right) + m, *soon = line(a, smaller(k + ahead, a.columns - 1), a.right) + m;
      long i = 0;
      for (long j = 0; j < some; j += V) __builtin_prefetch(soon + j);
      for (; i + V <= some; i += V) store(to + i, load(from + i));
      if (i < some) store(to + i, load(from + i, (int)(some - i)));
    }
  }

  void add(int id, Block<T> &block, long from, long to, long first, long last, long column, long k, long depth) {
    const T *rows[near];
    T *left = lefts + id * deep * apart;
    block.step = turned() ? apart : a.right;
    for (long m = from; m < to; m += near) {
      const long some = smaller(near, to - m);
      if (turned()) gather(left, m, some, k, depth);
      for (long i = 0; i < some; i++) rows[i] = turned() ? left + i : a.data + (m + i) * a.down + k * a.right;
      sweep(block, first, last, rows, some, depth, [&](long p, int width, long r, const T *tile) {
        const long at = column + p * widest * V;
        T *c = product.c + (m + r) * b.columns + at;
        for (long v = 0; v < width; v++) {
          const int count = (int)smaller(V, b.columns - at - v * V);
          const Vector<T> sum = load(tile + v * V);
          const T *more = k || product.adds ? c + v * V : product.bias ? product.bias + at + v * V : nullptr;
          store(c + v * V, more ? sum + load(more, count) : sum, count);
        }
      }, [&](long p, int width, long r) {
        const T *c = product.c + (m + r) * b.columns + column + p * widest * V;
        fetch<1>(c, width * V);
      });
    }
  }
};

template <class T> void product(const Product<T> &given) { MatrixProduct<T>(given).run(); }

// A matrix in panels, for many products.
template <class T> void pack(const Matrix<T> &b, T *panels) { Block<T>(b.rows, b.columns, panels).pack(b, 0, 0); }

} // namespace tgrnn::LEVEL
