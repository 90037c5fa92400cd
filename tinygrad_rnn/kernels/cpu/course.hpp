// The order of things: which rows run at a step, what lies before it, who works on which part.
//
// Rows are sorted by length, longest first, so that those that run at step t are the first
// `running(t)` of them: a ragged batch costs what its rows are long, in both directions.
#pragma once

#include "layer.hpp"
#include "memory.hpp"
#include "pool.hpp"

namespace tgrnn::LEVEL {

template <class T> class Course {
public:
  Course(const Layer<T> &layer, Scratch &scratch)
      : steps(layer.steps), batch(layer.batch), reverse(layer.reverse), lengths(layer.lengths), reset(layer.reset) {
    order = scratch.take<long>(batch);
    counts = scratch.zeros<long>(steps + 2); // of rows by length; then of rows longer than t
    for (long b = 0; b < batch; b++) counts[length(b)]++;
    for (long t = steps, above = 0; t >= 0; t--) {
      const long here = counts[t];
      counts[t] = above;
      above += here;
    }
    long *next = scratch.take<long>(steps + 1);
    memcpy(next, counts, (steps + 1) * sizeof(long));
    for (long b = 0; b < batch; b++) order[next[length(b)]++] = b;
  }

  const long steps, batch;
  const bool reverse;
  long row(long position) const { return order[position]; }
  long length(long b) const { return lengths ? lengths[b] : steps; }
  long running(long t) const { return counts[t]; } // how many rows are longer than t
  long time(long s) const { return reverse ? steps - 1 - s : s; } // of the step that runs as the s-th
  bool anew(long t, long b) const { return reset && reset[t * batch + b]; } // begins from zeros
  bool first(long t, long b) const { return reverse ? t == length(b) - 1 : t == 0; }
  long before(long t) const { return reverse ? t + 1 : t - 1; }
  long last(long b) const { return reverse ? 0 : length(b) - 1; } // a row's last step in running order

private:
  const int64_t *lengths;
  const bool *reset;
  long *order, *counts;
};

// How much of a vector of the old state survives; at, some: where it lies in the zone.
template <class T> inline Vector<T> survives(const Zone<T> &zone, long at, int some) {
  return zone.single ? broadcast(*zone.shares) : load(zone.shares + at, some);
}

// What one thread of a team works on: some of the rows, or else some of the hidden units.
struct Share {
  int id, of;
  bool by_rows;

  long rows(long count) const { return by_rows ? (count - id + of - 1) / of : count; } // my share of the first rows
  long position(long r) const { return by_rows ? r * of + id : r; }        // of my r-th row
  long from(long n) const { return by_rows ? 0 : n * id / of; }            // my panels
  long to(long n) const { return by_rows ? n : n * (id + 1) / of; }
  long some_from(long n) const { return n * id / of; } // an equal part of what is not bound to rows
  long some_to(long n) const { return n * (id + 1) / of; }
};

} // namespace tgrnn::LEVEL
