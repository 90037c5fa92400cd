// The backward pass of a layer, for any cell: `run_backward<T, Cell>`.
//
// Steps run backwards in chunks. The gates' cotangents of a chunk are stored in one buffer that
// stays in the cache; when it is complete, dx and the weights' gradients are computed from it by
// products. For embedding inputs the cotangents are summed per entry of the table, and multiplied
// at the end. `dh` carries the cotangent of h from step to step, starting with that of h_n. A cell
// is a `BackwardCell` with a static `layout`, constructed from the pass.
#pragma once

#include "lookup.hpp"
#include "weight_gradient.hpp"

namespace tgrnn::LEVEL {

constexpr long kBackwardChunk = 512; // rows, of all steps of a chunk together

// One step of the active rows, or of a thread's part of them. "Later" is the step that ran before
// this one, at the next time step of the sequence. Rows [0, active) are active in this step; rows
// [active, rows) were active in the later one only and just add its product to dh.
template <class T> struct BackwardStep {
  long t, rows, active;
  const long *row;    // index in the batch
  const T *const *dz; // the gates' cotangents of the later step, or the pass's zero_row
  bool needs_product; // whether dh still lacks the later step's W_hh' dz
  const T *gy;        // the cotangent of y; null if absent or already in dh
  T *const *to;       // where the gates' cotangents are stored
  const T **scratch;  // for as many pointers
};

template <class T> class BackwardPass;

// The part of a backward pass that differs between cells. Called by every thread with its slice.
template <class T> struct BackwardCell {
  virtual void pack(ThreadSlice slice) = 0; // packs its part of the recurrent weights
  virtual void step(const BackwardPass<T> &pass, Team &team, ThreadSlice slice,
                    const BackwardStep<T> &s) = 0;
  virtual void write_gradients(const BackwardPass<T> &) const {} // dc0 and dw_ch
};

// How a cell stores its gates' cotangents, in planes of Hp: the first `gates` of them are those of
// the input projections, the last `gates` those of the recurrent products. Where both are equal
// they overlap.
struct BackwardLayout {
  int gates, planes;
  bool reset_before; // whether the third gate multiplies r * h (saved in the fourth plane) instead
                     // of h
  int gate_of_plane[4];
};

template <class T> class BackwardPass {
public:
  static constexpr int V = lanes<T>;

  BackwardPass(const Layer<T> &layer, const Backward<T> &io, const BackwardLayout &layout)
      : layer(layer), io(io), layout(layout), first_recurrent(layout.planes - layout.gates),
        schedule(layer, scratch), lookup(layer, schedule, scratch),
        padded(ceil_div(layer.hidden, V) * V), padded_out(ceil_div(layer.out, V) * V),
        dh(padded_copy(io.gh, layer.out, padded_out)),
        zero_row(scratch.template zeros<T>(
            max(layout.planes * padded, max(layer.features, layer.out)) + V)),
        width(layout.planes * padded),
        // Plus V: with a power of two all rows would map to the same sets of the cache.
        stride(width + (layer.w_hr ? padded_out + padded : 0) + V),
        chunk(max(1, min(layer.steps, kBackwardChunk / layer.batch))),
        chunk_rows(chunk * layer.batch), dz(scratch.template take<T>(chunk_rows * stride)),
        entry_gradients(scratch.template zeros<T>(lookup.count * layout.gates * padded)),
        bias(scratch.template zeros<T>(width)),
        masked(layer.h_mask ? scratch.template take<T>(chunk_rows * layer.out) : nullptr),
        carried(layer.h_zoneout.keep ? scratch.template take<T>(layer.batch * padded_out)
                                     : nullptr),
        dzs(scratch.template take<const T *>(chunk_rows)),
        dxs(scratch.template take<T *>(chunk_rows)),
        pointers(scratch.template take<const T *>(layer.threads * pointers_per_thread())),
        w_rows(weight_rows(layer.w_ih, 0, layer.features)),
        w_ih(scratch, w_rows, layout.gates * padded, layer.features),
        in(scratch, chunk_rows, layer.features, layout.gates * layer.hidden),
        recurrent(scratch, chunk_rows, layer.out, layout.gates * layer.hidden),
        reset(scratch, layout.reset_before ? chunk_rows : 0, layer.out, layer.hidden),
        projection(scratch, layer.w_hr ? chunk_rows : 0, layer.hidden, layer.out) {
    const long H = layer.hidden;
    for (int g = 0; g < layout.gates; g++) {
      const int gate = layout.gate_of_plane[g], rec = layout.gate_of_plane[first_recurrent + g];
      if (io.dw_ih) in.rows(io.dw_ih + gate * H * layer.features, dz + g * padded, H);
      if (io.dw_hh)
        (layout.reset_before && rec == 2 ? reset : recurrent)
            .rows(io.dw_hh + rec * H * layer.out, dz + (first_recurrent + g) * padded, H);
    }
    projection.rows(io.dw_hr, dz + width, layer.out);
  }

  void run(BackwardCell<T> &cell) {
    const bool by_rows = layer.batch >= 2 * layer.threads || layer.threads == 1;
    struct Context {
      BackwardPass *pass;
      BackwardCell<T> &cell;
      bool by_rows;
    } context = {this, cell, by_rows};
    clear_padding();
    tgrnn::run(
        layer.threads,
        [](void *c, Team &team, int id) {
          Context *context = static_cast<Context *>(c);
          context->pass->run_slice(context->cell, team, {id, team.size, context->by_rows});
        },
        &context);
    const long H = layer.hidden, P = layer.out;
    for (long b = 0; io.dh0 && b < layer.batch; b++)
      memcpy(io.dh0 + b * P, dh + b * padded_out, P * sizeof(T));
    for (int g = 0; g < layout.gates; g++) {
      const int at = first_recurrent + g;
      if (io.db_ih)
        memcpy(io.db_ih + layout.gate_of_plane[g] * H, bias + g * padded, H * sizeof(T));
      if (io.db_hh)
        memcpy(io.db_hh + layout.gate_of_plane[at] * H, bias + at * padded, H * sizeof(T));
    }
    cell.write_gradients(*this);
  }

  // A copy of (B, n) with rows padded to (B, to); zeros if `from` is null.
  T *padded_copy(const T *from, long n, long to) {
    T *copy = scratch.template zeros<T>(layer.batch * to);
    for (long b = 0; from && b < layer.batch; b++)
      memcpy(copy + b * to, from + b * n, n * sizeof(T));
    return copy;
  }

  // Pointers to w's rows in the order of dz's planes from `first` on; zeros for the padding.
  const T *const *weight_rows(const T *w, int first, long columns) {
    const T **rows = scratch.template take<const T *>(layout.gates * padded);
    for (int g = 0; g < layout.gates; g++)
      for (long j = 0; j < padded; j++)
        rows[g * padded + j] =
            j < layer.hidden ? w + (layout.gate_of_plane[first + g] * layer.hidden + j) * columns
                             : zero_row;
    return rows;
  }
  const T *const *recurrent_rows() { return weight_rows(layer.w_hh, first_recurrent, layer.out); }

  // A vector of cotangents with its padding zeroed: products sum over whole vectors, and infinite
  // values may have left NaN there.
  Vector<T> zero_padding(Vector<T> d, long j) const {
    return j + V <= layer.hidden ? d : first_lanes<T>(d, (int)(layer.hidden - j));
  }

  // h that step t of row b started from.
  const T *h_before(long t, long b) const {
    return schedule.is_reset(t, b)   ? zero_row
           : schedule.is_first(t, b) ? layer.h0 + b * layer.out
                                     : io.y + (schedule.previous(t) * layer.batch + b) * layer.out;
  }

  // The backward of h_mask * h.
  Vector<T> apply_mask(Vector<T> d, long b, long j) const {
    if (!layer.h_mask) return d;
    const Vector<T> m = load(layer.h_mask + b * layer.out + j, (int)min(V, layer.out - j));
    return selected<T>(m, d);
  }

  // Sets dh to the full cotangent of a step's result h': the carried part, the later step's product
  // (a tile) and gy. For a row that is not active stores it in `this->dh` and returns false.
  bool accumulate_dh(const BackwardStep<T> &s, long r, long j, const T *tile, Vector<T> &dh) const {
    const long b = s.row[r], P = layer.out;
    T *old = this->dh + b * padded_out + j;
    dh = s.dz[r] == zero_row
             ? load(old)
             : apply_mask(load(tile), b, j) + load(old); // no 0 * inf from infinite weights
    if (r >= s.active) return store(old, dh), false;
    if (s.gy) dh += load(s.gy + (s.t * layer.batch + b) * P + j, (int)min(V, P - j));
    return true;
  }

  const Layer<T> &layer;
  const Backward<T> &io;
  const BackwardLayout layout;
  const int first_recurrent; // plane
  Scratch scratch;
  const RowSchedule<T> schedule;
  const Lookup<T> lookup;
  const long padded, padded_out;
  T *const dh; // (B, padded_out)
  T *zero_row;
  const long width; // of all planes; an LSTM with a projection stores its result's cotangent and
                    // its input behind

private:
  const long stride, chunk, chunk_rows;
  T *dz, *entry_gradients, *bias, *masked, *carried;
  const T **dzs;
  T **dxs;
  const T **pointers;
  const T *const *w_rows;
  RowPanels<T> w_ih;
  WeightGradient<T> in, recurrent, reset, projection;

  long pointers_per_thread() const { return 4 * layer.batch; }

  // Zeros dx past each row's length.
  void clear_padding() {
    if (io.dx && layer.ids) memset(io.dx, 0, layer.entries * layer.features * sizeof(T));
    if (!io.dx || layer.ids || !layer.lengths) return;
    for (long b = 0; b < layer.batch; b++)
      for (long t = schedule.length(b); t < layer.steps; t++)
        memset(io.dx + (t * layer.batch + b) * layer.features, 0, layer.features * sizeof(T));
  }

  void run_slice(BackwardCell<T> &cell, Team &team, ThreadSlice slice) {
    cell.pack(slice);
    if (io.dx) w_ih.pack(slice.begin(w_ih.count()), slice.end(w_ih.count()));
    team.barrier();
    for (long begin = 0; begin < layer.steps;
         begin += chunk) { // counts steps in the order of this pass
      const long end = min(begin + chunk, layer.steps);
      const long rows_filled = recurrence(cell, team, slice, begin, end);
      team.barrier();
      gradients(team, slice, begin, end, rows_filled);
      team.barrier();
    }
    for (long first = 0; first < lookup.count; first += chunk_rows) {
      table_gradients(team, slice, first, min(chunk_rows, lookup.count - first));
      team.barrier();
    }
  }

  // Runs the steps of a chunk. Returns how many rows of dz it has filled.
  long recurrence(BackwardCell<T> &cell, Team &team, ThreadSlice slice, long begin, long end) {
    const long B = layer.batch;
    const T **from = pointers + slice.id * pointers_per_thread(), **scratch_rows = from + B;
    T **to = const_cast<T **>(scratch_rows + B);
    long *row = reinterpret_cast<long *>(to + B);
    long rows_filled = 0, before = 0,
         active_before = 0; // of the later step: its first row of dz, and its active rows
    long t_before = 0;
    for (long s = begin; s <= end; s++) { // at `end` only adds the last step's product
      const long t = schedule.time_of(layer.steps - 1 - s);
      const long all = s < end ? schedule.active(t) : 0, active = slice.row_count(all),
                 rows = max(active, active_before);
      for (long r = 0; r < rows; r++) {
        const long position = slice.position(r);
        row[r] = schedule.row(position);
        from[r] = r < active_before && !schedule.is_reset(t_before, row[r])
                      ? dz + (before + position) * stride
                      : zero_row;
        to[r] = dz + (rows_filled + position) * stride;
      }
      BackwardStep<T> step{t, rows, active, row, from, s > begin, io.gy, to, scratch_rows};
      if (layer.h_zoneout.keep &&
          active) { // completes dh, then splits it between the step and its old state
        BackwardStep<T> product_only = step;
        product_only.active = 0;
        cell.step(*this, team, slice, product_only);
        for_active_vectors(slice, step, [&](T *d, long b, long j) {
          split_zoneout(d, carried + b * padded_out + j, (t * layer.batch + b) * layer.out + j, j);
        });
        step.rows = active, step.needs_product = false, step.gy = nullptr;
      }
      cell.step(*this, team, slice, step);
      if (layer.h_zoneout.keep)
        for_active_vectors(slice, step, [&](T *d, long b, long j) {
          store(d, load(d) + load(carried + b * padded_out + j));
        });
      if (layer.reset) // no gradient flows through a reset
        for_active_vectors(slice, step, [&](T *d, long b, long) {
          if (schedule.is_reset(t, b)) store(d, Vector<T>{});
        });
      if (!slice.by_rows) team.barrier();
      before = rows_filled;
      t_before = t;
      rows_filled += all;
      active_before = active;
    }
    return rows_filled;
  }

  // Calls f(vector of dh, b, j) for the thread's part of the active rows.
  template <class F>
  void for_active_vectors(ThreadSlice slice, const BackwardStep<T> &s, F f) const {
    const long panels = ceil_div(padded_out / V, kMaxVectors),
               to = min(slice.panel_end(panels) * kMaxVectors * V, padded_out);
    for (long r = 0; r < s.active; r++)
      for (long j = slice.panel_begin(panels) * kMaxVectors * V; j < to; j += V)
        f(dh + s.row[r] * padded_out + j, s.row[r], j);
  }

  // The backward of h' = keep h + (1 - keep) h~: `carried` for h, d for h~.
  void split_zoneout(T *d, T *carried, long at, long j) const {
    const int count = (int)min(V, layer.out - j);
    const Vector<T> keep = keep_probability(layer.h_zoneout, at, count),
                    all = io.gy ? load(d) + load(io.gy + at, count) : load(d);
    store(carried, selected<T>(keep, all));
    store(d, selected<T>(T(1) - keep, all));
  }

  // dx and the weights' gradients of a chunk, from `depth` rows of dz.
  void gradients(Team &team, ThreadSlice slice, long begin, long end, long depth) {
    if (slice.id == 0) {
      long k = 0;
      for (long s = begin; s < end; s++) {
        const long t = schedule.time_of(layer.steps - 1 - s);
        for (long r = 0; r < schedule.active(t); r++, k++) {
          const long b = schedule.row(r), at = t * layer.batch + b;
          dzs[k] = dz + k * stride;
          if (lookup.count) {
            dxs[k] = entry_gradients + lookup.at(t, b) * layout.gates * padded;
          } else {
            dxs[k] = io.dx + at * layer.features;
            in.operands[k] = layer.x + at * layer.features;
          }
          recurrent.operands[k] = h_before(t, b);
          if (masked) {
            T *row = masked + k * layer.out;
            apply_h_mask(row, recurrent.operands[k], layer.h_mask + b * layer.out, layer.out);
            recurrent.operands[k] = row;
          }
          if (layout.reset_before) reset.operands[k] = io.gates + (at * 4 + 3) * padded;
          if (layer.w_hr) projection.operands[k] = dzs[k] + width + padded_out;
        }
      }
      for (WeightGradient<T> *w : weights) w->begin(depth, stride);
    }
    team.barrier();
    for (WeightGradient<T> *w : weights)
      if (w != &in || !lookup.count) w->pack(slice);
    if (lookup.count) {
      const long vectors = layout.gates * padded / V, from = slice.begin(vectors) * V,
                 to = slice.end(vectors) * V;
      for (long k = 0; k < depth; k++)
        for (long v = from; v < to; v += V) store(dxs[k] + v, load(dxs[k] + v) + load(dzs[k] + v));
    } else {
      input_gradients(slice, depth);
    }
    team.barrier();
    for (WeightGradient<T> *w : weights)
      if (w != &in || !lookup.count) w->add(slice, begin == 0);
    if (io.db_ih || io.db_hh)
      for (long v = slice.begin(width / V) * V; v < slice.end(width / V) * V; v += V) {
        Vector<T> sum = load(bias + v);
        for (long k = 0; k < depth; k++) sum += load(dz + k * stride + v);
        store(bias + v, sum);
      }
  }

  // dx of the rows of a chunk (of a table's entries under ids).
  void input_gradients(ThreadSlice slice, long depth) {
    if (!io.dx) return;
    const long first = slice.begin(depth), I = layer.features;
    gemm_rows(w_ih, 0, w_ih.count(), dzs + first, slice.end(depth) - first, w_ih.depth,
              [&](long p, int width, long r, const T *tile) {
                T *dx = dxs[first + r];
                for (long v = 0, at = p * kMaxVectors * V; v < width; v++, at += V)
                  store(dx + at, load(tile + v * V), (int)min(V, I - at));
              });
  }

  // dx and dw_ih of some entries of a table, as if they were the inputs of a chunk.
  void table_gradients(Team &team, ThreadSlice slice, long first, long depth) {
    if (slice.id == 0) {
      for (long k = 0; k < depth; k++) {
        const T *row = in.operands[k] = lookup.rows[first + k];
        dzs[k] = dz + k * stride;
        dxs[k] = io.dx + (row - layer.x);
        memcpy(dz + k * stride, entry_gradients + (first + k) * layout.gates * padded,
               layout.gates * padded * sizeof(T));
      }
      in.begin(depth, stride);
    }
    team.barrier();
    in.pack(slice);
    input_gradients(slice, depth);
    team.barrier();
    in.add(slice, first == 0);
  }

  WeightGradient<T> *const weights[4] = {&in, &recurrent, &reset, &projection};
};

template <class T, class Cell> void run_backward(const Layer<T> &layer, const Backward<T> &io) {
  BackwardPass<T> pass(layer, io, Cell::layout);
  Cell cell(pass);
  pass.run(cell);
}

} // namespace tgrnn::LEVEL
