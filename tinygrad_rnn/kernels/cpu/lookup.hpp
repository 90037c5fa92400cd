// Inputs that are rows of a table: which rows are read, each once. What is computed of an input alone
// is computed once for each of them, however often it is read. What stands past a row's length is not read.
#pragma once

#include "course.hpp"

namespace tgrnn::LEVEL {

template <class T> class Lookup {
public:
  Lookup(const Layer<T> &layer, const Course<T> &course, Scratch &scratch) : layer(layer) {
    if (!layer.ids) return;
    place = scratch.zeros<long>(layer.entries);
    for (long t = 0; t < layer.steps; t++)
      for (long r = 0; r < course.running(t); r++) place[layer.ids[t * layer.batch + course.row(r)]] = 1;
    for (long e = 0; e < layer.entries; e++) count += place[e];
    rows = scratch.take<const T *>(count);
    for (long e = 0, k = 0; e < layer.entries; e++)
      if (place[e]) rows[k] = layer.x + e * layer.features, place[e] = k++;
  }

  long count = 0;           // of the rows that are read; 0 if the inputs are no rows of a table
  const T **rows = nullptr; // in the table's order

  long at(long t, long b) const { return place[layer.ids[t * layer.batch + b]]; } // which of them is read

private:
  const Layer<T> &layer;
  long *place = nullptr;
};

} // namespace tgrnn::LEVEL
