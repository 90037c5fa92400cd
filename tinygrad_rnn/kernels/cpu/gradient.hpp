// A weight's gradient: the sum, over the rows of a chunk, of cotangent times what was multiplied.
#pragma once

#include "course.hpp"
#include "weights.hpp"

namespace tgrnn::LEVEL {

template <class T> class WeightGradient {
public:
  static constexpr int V = lanes<T>;

  // most: rows of a chunk; columns: of the weight; rows: how many will be added by `rows`.
  WeightGradient(Scratch &scratch, long most, long columns, long rows)
      : operands(scratch.take<const T *>(most)), panels(scratch, operands, most, columns),
        cotangents(scratch.take<const T *>(rows)), targets(scratch.take<T *>(rows)), columns(columns) {}

  // Some rows of the weight, and where in the first row of the chunk their cotangents lie.
  void rows(T *dw, const T *dz, long count) {
    for (long j = 0; dw && j < count; j++, total++) cotangents[total] = dz + j, targets[total] = dw + j * columns;
  }

  const T **const operands; // by row of the chunk: what was multiplied

  void begin(long depth, long stride) { panels.depth = depth, panels.step = stride; } // one thread

  void pack(Share share) { // then all, each its part
    if (total) panels.pack(share.some_from(panels.count()), share.some_to(panels.count()));
  }

  void add(Share share, bool fresh) {
    constexpr long block = 96; // rows whose cotangents stay near for all panels
    const long to = share.some_to(total);
    for (long m = share.some_from(total); m < to; m += block)
      sweep(panels, 0, panels.count(), cotangents + m, smaller(block, to - m), panels.depth,
            [&](long p, int width, long r, const T *tile) {
              T *dw = targets[m + r];
              for (long v = 0, at = p * widest * V; v < width; v++, at += V) {
                const int some = (int)smaller(V, columns - at);
                const Vector<T> sum = load(tile + v * V);
                store(dw + at, fresh ? sum : sum + load(dw + at, some), some);
              }
            },
            [&](long p, int width, long r) {
              fetch<1>(targets[m + r] + p * widest * V, width * V);
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
