// The gradient of a weight, summed over the rows of each chunk: cotangents' times operands.
//
// For every chunk: fill `operands`, call begin on one thread, then pack and add on all, with
// barriers between the three.
#pragma once

#include "schedule.hpp"
#include "weights.hpp"

namespace tgrnn::LEVEL {

template <class T> class WeightGradient {
public:
  static constexpr int V = lanes<T>;

  // For chunks of at most chunk_rows rows, and a weight (rows, columns).
  WeightGradient(Scratch &scratch, long chunk_rows, long columns, long rows)
      : operands(scratch.take<const T *>(chunk_rows)),
        panels(scratch, operands, chunk_rows, columns), cotangents(scratch.take<const T *>(rows)),
        targets(scratch.take<T *>(rows)), columns(columns) {}

  // Adds `count` rows of the weight: dw are their gradients (null if not wanted), dz their
  // cotangents in the chunk's first row.
  void rows(T *dw, const T *dz, long count) {
    for (long j = 0; dw && j < count; j++, total++)
      cotangents[total] = dz + j, targets[total] = dw + j * columns;
  }

  const T **const operands; // by row of the chunk: the left operand of the forward product

  void begin(long depth, long stride) { panels.depth = depth, panels.step = stride; }

  void pack(ThreadSlice slice) {
    if (total) panels.pack(slice.begin(panels.count()), slice.end(panels.count()));
  }

  void add(ThreadSlice slice, bool overwrite) {
    constexpr long block = 96; // rows whose cotangents stay in the cache for all panels
    const long to = slice.end(total);
    for (long m = slice.begin(total); m < to; m += block)
      gemm_rows(
          panels, 0, panels.count(), cotangents + m, min(block, to - m), panels.depth,
          [&](long p, int width, long r, const T *tile) {
            T *dw = targets[m + r];
            for (long v = 0, at = p * kMaxVectors * V; v < width; v++, at += V) {
              const int count = (int)min(V, columns - at);
              const Vector<T> sum = load(tile + v * V);
              store(dw + at, overwrite ? sum : sum + load(dw + at, count), count);
            }
          },
          [&](long p, int width, long r) {
            prefetch_lines<1>(targets[m + r] + p * kMaxVectors * V, width * V);
          });
  }

private:
  RowPanels<T> panels;
  const T **cotangents;
  T **targets;
  const long columns;
  long total = 0;
};

} // namespace tgrnn::LEVEL
