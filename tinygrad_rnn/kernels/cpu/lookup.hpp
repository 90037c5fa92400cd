// Inputs that are rows of a table: which rows occur, each once. What is computed of an input alone
// is computed once for each of them, however often it is read.
#pragma once

#include "layer.hpp"
#include "memory.hpp"

namespace tgrnn::LEVEL {

template <class T> class Lookup {
public:
  Lookup(const Layer<T> &layer, Scratch &scratch) : layer(layer) {
    if (!layer.ids) return;
    place = scratch.zeros<long>(layer.entries);
    const long reads = layer.steps * layer.batch;
    for (long i = 0; i < reads; i++) place[entry(i)] = 1;
    for (long e = 0; e < layer.entries; e++) count += place[e];
    rows = scratch.take<const T *>(count);
    for (long e = 0, k = 0; e < layer.entries; e++)
      if (place[e]) rows[k] = layer.x + e * layer.features, place[e] = k++;
  }

  long count = 0;           // of the rows that occur; 0 if the inputs are no rows of a table
  const T **rows = nullptr; // in the table's order

  long at(long t, long b) const { return place[entry(t * layer.batch + b)]; } // which of them is read

private:
  const Layer<T> &layer;
  long *place = nullptr;

  long entry(long i) const { return layer.ids[i] < 0 ? layer.ids[i] + layer.entries : layer.ids[i]; }
};

} // namespace tgrnn::LEVEL
