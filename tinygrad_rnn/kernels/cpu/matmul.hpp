// Products of two matrices (`Product`): blocks of b are packed, and rows of a multiplied with them.
//
// a is read in place unless it is contiguous by columns or given by lines: then blocks of it are
// copied. Threads split the columns or the rows of the result and pack their own panels, so none
// waits for another, and the order of summation does not depend on their number.
#pragma once

#include "gemm.hpp"
#include "kernels.hpp"
#include "pool.hpp"
#include "scratch.hpp"

namespace tgrnn::LEVEL {

constexpr long kPrefetchDistance = 8; // in terms of the sums, while copying

// Where the operands of the k-th term of the sums start.
template <class T> inline const T *line(const Matrix<T> &m, long k, long stride) {
  return m.lines ? m.lines[k] : m.data + k * stride;
}

// A block of b: some of its rows and columns, packed in panels.
template <class T> struct Block : Panels<T> {
  static constexpr int V = lanes<T>;
  long row_offset = 0; // of the block in its panels
  long step = 1;       // stride of the elements of a row of a

  Block(long depth, long columns, T *data) : Panels<T>(depth, ceil_div(columns, V)) {
    this->data = data;
  }

  void pack(const Matrix<T> &b, long first_row, long first_column) {
    if (b.column_stride != 1) {
      for (long v = 0; v < this->vectors; v++) {
        long stride;
        T *to = this->column(v, stride);
        const long at = first_column + v * V;
        pack_transposed(to, stride, b.data + first_row + at * b.column_stride, b.column_stride,
                        (int)min(V, b.columns - at), this->depth);
      }
      return;
    }
    const long full_vectors = (b.columns - first_column) / V;
    for (long k = 0; k < this->depth; k++) {
      const T *from = line(b, first_row + k, b.row_stride) + first_column;
      const T *next =
          line(b, first_row + min(k + kPrefetchDistance, this->depth - 1), b.row_stride) +
          first_column;
      for (long p = 0; p < this->count(); p++) {
        const int width = this->width(p);
        T *to = this->panel(p) + k * width * V;
        for (long v = 0, at = p * kMaxVectors; v < width; v++, at++) {
          __builtin_prefetch(next + at * V);
          store(to + v * V, at < full_vectors
                                ? load(from + at * V)
                                : load(from + at * V, (int)(b.columns - first_column - at * V)));
        }
      }
    }
  }

  void multiply(long p, int width, const T *const *a, int rows, long depth, T *tile) const {
    table<T>.of[width - 1][rows - 1](depth, a, step, this->panel(p) + row_offset * width * V, tile);
  }
};

template <class T> class MatrixProduct {
public:
  static constexpr int V = lanes<T>;
  static constexpr long kBlockRows = 96; // rows of a that stay in the cache for all panels
  static constexpr long kBlockDepth = 2048 / sizeof(T); // with kBlockVectors: half a megabyte
  static constexpr long kBlockVectors = 256 / V;
  static constexpr long kGatherStride = kBlockRows + V; // odd in cache lines: no conflicts

  MatrixProduct(const Product<T> &product) : product(product), a(product.a), b(product.b) {}

  void run() {
    const long block = min(kBlockDepth, a.columns) * min(kBlockVectors, ceil_div(b.columns, V)) * V;
    if (!product.packed) blocks = scratch.take<T>(block * product.threads);
    if (transposed()) gathered = scratch.take<T>(kBlockDepth * kGatherStride * product.threads);
    block_size = block;
    tgrnn::run(
        product.threads,
        [](void *self, Team &team, int id) {
          static_cast<MatrixProduct *>(self)->run_slice(team.size, id);
        },
        this);
  }

private:
  const Product<T> &product;
  const Matrix<T> &a, &b;
  Scratch scratch;
  T *blocks = nullptr, *gathered = nullptr;
  long block_size;

  bool transposed() const { return a.lines || (a.column_stride != 1 && a.row_stride == 1); }

  void run_slice(int threads, int id) {
    const long panels = ceil_div(b.columns, kMaxVectors * V);
    if (panels >= 2 * threads || a.rows < kMaxRows * threads)
      multiply(id, 0, a.rows, panels * id / threads, panels * (id + 1) / threads);
    else multiply(id, a.rows * id / threads, a.rows * (id + 1) / threads, 0, panels);
  }

  // Computes rows [from, to) of the result in panels [first, last) of its columns.
  void multiply(int id, long from, long to, long first, long last) {
    if (product.packed)
      for (long k = 0; k < a.columns; k += kBlockDepth) {
        Block<T> all(a.columns, b.columns, const_cast<T *>(b.data));
        all.row_offset = k;
        add(id, all, from, to, first, last, 0, k, min(kBlockDepth, a.columns - k));
      }
    else
      for (long p = first; p < last; p += kBlockVectors / kMaxVectors)
        for (long k = 0; k < a.columns; k += kBlockDepth) {
          const long column = p * kMaxVectors * V,
                     end = min(b.columns,
                               min(last, p + kBlockVectors / kMaxVectors) * kMaxVectors * V);
          Block<T> block(min(kBlockDepth, a.columns - k), end - column, blocks + id * block_size);
          block.pack(b, k, column);
          add(id, block, from, to, 0, block.count(), column, k, block.depth);
        }
  }

  // Copies a block of a that is contiguous by columns: term k at to + k * kGatherStride.
  void gather(T *to, long m, long count, long k, long depth) {
    for (long end = k + depth; k < end; k++, to += kGatherStride) {
      const T *from = line(a, k, a.column_stride) + m,
              *next = line(a, min(k + kPrefetchDistance, a.columns - 1), a.column_stride) + m;
      long i = 0;
      for (long j = 0; j < count; j += V) __builtin_prefetch(next + j);
      for (; i + V <= count; i += V) store(to + i, load(from + i));
      if (i < count) store(to + i, load(from + i, (int)(count - i)));
    }
  }

  void add(int id, Block<T> &block, long from, long to, long first, long last, long column, long k,
           long depth) {
    const T *rows[kBlockRows];
    T *block_a = gathered + id * kBlockDepth * kGatherStride;
    block.step = transposed() ? kGatherStride : a.column_stride;
    for (long m = from; m < to; m += kBlockRows) {
      const long count = min(kBlockRows, to - m);
      if (transposed()) gather(block_a, m, count, k, depth);
      for (long i = 0; i < count; i++)
        rows[i] =
            transposed() ? block_a + i : a.data + (m + i) * a.row_stride + k * a.column_stride;
      gemm_rows(
          block, first, last, rows, count, depth,
          [&](long p, int width, long r, const T *tile) {
            const long at = column + p * kMaxVectors * V;
            T *c = product.c + (m + r) * b.columns + at;
            for (long v = 0; v < width; v++) {
              const int count = (int)min(V, b.columns - at - v * V);
              const Vector<T> sum = load(tile + v * V);
              const T *more = k || product.accumulate ? c + v * V
                              : product.bias          ? product.bias + at + v * V
                                                      : nullptr;
              store(c + v * V, more ? sum + load(more, count) : sum, count);
            }
          },
          [&](long p, int width, long r) {
            const T *c = product.c + (m + r) * b.columns + column + p * kMaxVectors * V;
            prefetch_lines<1>(c, width * V);
          });
    }
  }
};

template <class T> void product(const Product<T> &arguments_of) {
  MatrixProduct<T>(arguments_of).run();
}

// Packs a whole matrix, for many products.
template <class T> void pack(const Matrix<T> &b, T *panels) {
  Block<T>(b.rows, b.columns, panels).pack(b, 0, 0);
}

} // namespace tgrnn::LEVEL
