// Which rows of the batch are active at a step (lengths, resets, direction), and which thread
// computes what.
//
// Rows are sorted by length, longest first, so that the active rows of step t are the first
// `active(t)` of them: the cost of a ragged batch is the sum of its lengths, in both directions.
#pragma once

#include "kernels.hpp"
#include "pool.hpp"
#include "scratch.hpp"

namespace tgrnn::LEVEL {

template <class T> class RowSchedule {
public:
  RowSchedule(const Layer<T> &layer, Scratch &scratch)
      : steps(layer.steps), batch(layer.batch), reverse(layer.reverse), lengths(layer.lengths),
        reset(layer.reset) {
    order = scratch.take<long>(batch);
    counts = scratch.zeros<long>(
        steps + 2); // how many rows have length t; then: how many are longer than t
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
  long row(long position) const { return order[position]; } // by its position in the sorted order
  long length(long b) const { return lengths ? lengths[b] : steps; }
  long active(long t) const { return counts[t]; }
  long time_of(long s) const { return reverse ? steps - 1 - s : s; } // of the s-th step to run
  bool is_reset(long t, long b) const { return reset && reset[t * batch + b]; } // starts from zeros
  bool is_first(long t, long b) const { return reverse ? t == length(b) - 1 : t == 0; }
  long previous(long t) const { return reverse ? t + 1 : t - 1; }
  long last_step(long b) const { return reverse ? 0 : length(b) - 1; } // the last step to run

private:
  const int64_t *lengths;
  const bool *reset;
  long *order, *counts;
};

// The keep probabilities of `count` units from index `at` on.
template <class T>
inline Vector<T> keep_probability(const Zoneout<T> &zoneout, long at, int count) {
  return zoneout.scalar ? broadcast(*zoneout.keep) : load(zoneout.keep + at, count);
}

// What one thread of a team computes: a subset of the rows, or of the panels of hidden units.
struct ThreadSlice {
  int id, of;
  bool by_rows;

  long row_count(long count) const {
    return by_rows ? (count - id + of - 1) / of : count;
  } // its rows among the first `count`
  long position(long r) const { return by_rows ? r * of + id : r; } // of its r-th row
  long panel_begin(long n) const {
    return by_rows ? 0 : n * id / of;
  } // its panels [begin, end) of n
  long panel_end(long n) const { return by_rows ? n : n * (id + 1) / of; }
  long begin(long n) const {
    return n * id / of;
  } // an equal part [begin, end) of n items, whatever it computes
  long end(long n) const { return n * (id + 1) / of; }
};

// factor * a; zero where the factor is, whatever a is.
template <class T> inline Vector<T> selected(Vector<T> factor, Vector<T> a) {
  return factor == Vector<T>{} ? factor : factor * a;
}

} // namespace tgrnn::LEVEL
