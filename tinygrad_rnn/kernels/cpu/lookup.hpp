// Embedding inputs (`Layer::ids`): the distinct entries of the table that are read, so that
// products with inputs are computed once per entry, however often it occurs. Ids past a row's
// length are ignored.
#pragma once

#include "schedule.hpp"

namespace tgrnn::LEVEL {

template <class T> class Lookup {
public:
  Lookup(const Layer<T> &layer, const RowSchedule<T> &schedule, Scratch &scratch) : layer(layer) {
    if (!layer.ids) return;
    place = scratch.zeros<long>(layer.entries);
    for (long t = 0; t < layer.steps; t++)
      for (long r = 0; r < schedule.active(t); r++)
        place[layer.ids[t * layer.batch + schedule.row(r)]] = 1;
    for (long e = 0; e < layer.entries; e++) count += place[e];
    rows = scratch.take<const T *>(count);
    for (long e = 0, k = 0; e < layer.entries; e++)
      if (place[e]) rows[k] = layer.x + e * layer.features, place[e] = k++;
  }

  long count = 0;           // of distinct entries; 0 without ids
  const T **rows = nullptr; // of the table, ascending

  long at(long t, long b) const { return place[layer.ids[t * layer.batch + b]]; } // index into rows

private:
  const Layer<T> &layer;
  long *place = nullptr; // of each entry in rows
};

} // namespace tgrnn::LEVEL
