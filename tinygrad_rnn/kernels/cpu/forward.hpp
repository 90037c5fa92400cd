// The forward pass of a layer, for any cell: `run_forward<T, Cell>`.
//
// Steps run in chunks. For each chunk one product projects the inputs of all its steps, which are
// still in the cache when the recurrence reads them; embedding inputs are projected once, before
// the first step. A cell is a `ForwardCell` with a static `layout`, constructed from the pass. It
// packs its recurrent weights and computes a step for the active rows; it is free to synchronize
// its team.
//
// `out.y` may be the memory of `layer.x`: a step's inputs are read before its outputs are written.
#pragma once

#include "lookup.hpp"
#include "schedule.hpp"
#include "weights.hpp"

namespace tgrnn::LEVEL {

constexpr long kForwardChunk = 256; // rows, of all steps of a chunk together
constexpr long kMaxUnpackedRows =
    16; // of all steps together: packing weights for so few does not pay

// One step of the active rows, or of a thread's part of them. Arrays are indexed by r < rows.
template <class T> struct ForwardStep {
  long t, rows;
  const long *row;   // index in the batch
  const T *const *h; // h of the previous step
  const T *const *a; // h, or h_mask * h
  const T *const *u; // W_ih x + b of the gates
  T *const *z;       // where the gates' activations may be stored; may be the same memory as u
  const T **scratch; // for as many pointers
};

template <class T> class ForwardPass;

// The part of a forward pass that differs between cells. Called by every thread with its slice.
template <class T> struct ForwardCell {
  virtual void pack(ThreadSlice slice) = 0; // packs its part of the recurrent weights
  virtual void step(const ForwardPass<T> &pass, Team &team, ThreadSlice slice,
                    const ForwardStep<T> &s) = 0;
  virtual void write_state(const ForwardPass<T> &) const {} // writes c_n
};

struct ForwardLayout {
  int gates;                  // of w_ih and w_hh
  int gates_with_both_biases; // the first gates, whose b_hh is added to the projected inputs
  int planes;                 // of Hp that a step saves in `Forward::gates`
};

template <class T> class ForwardPass {
public:
  static constexpr int V = lanes<T>;

  ForwardPass(const Layer<T> &layer, const Forward<T> &out, ForwardLayout layout)
      : layer(layer), out(out), layout(layout), schedule(layer, scratch),
        lookup(layer, schedule, scratch), blocks(ceil_div(layer.hidden, V)), padded(blocks * V),
        width(layout.planes * padded), chunk(max(1, min(layer.steps, kForwardChunk / layer.batch))),
        pack_weights(layer.steps * layer.batch > kMaxUnpackedRows),
        inputs(scratch, layer.w_ih, layer.hidden, layer.features, 0, layout.gates, 0,
               pack_weights) {
    bias = scratch.template zeros<T>(inputs.vectors * V);
    add_bias(layer.b_ih, layout.gates);
    add_bias(layer.b_hh, layout.gates_with_both_biases);
    zero_row = scratch.template zeros<T>(max(padded, layer.out));
    if (layer.h_mask) masked = scratch.template take<T>(layer.threads * layer.batch * layer.out);
    gates = out.gates ? out.gates : scratch.template take<T>(chunk * layer.batch * width);
    if (!lookup.count) return;
    T *products = scratch.template take<T>(lookup.count * inputs.vectors * V);
    projected = scratch.template take<T *>(lookup.count);
    for (long k = 0; k < lookup.count; k++) projected[k] = products + k * inputs.vectors * V;
  }

  void run(ForwardCell<T> &cell) {
    const bool by_rows = layer.batch >= 2 * layer.threads || layer.threads == 1;
    clear_padding();
    struct Context {
      ForwardPass *pass;
      ForwardCell<T> &cell;
      bool by_rows;
    } context = {this, cell, by_rows};
    pointers = scratch.template take<const T *>(layer.threads * pointers_per_thread());
    tgrnn::run(
        layer.threads,
        [](void *c, Team &team, int id) {
          Context *context = static_cast<Context *>(c);
          context->pass->run_slice(context->cell, team, {id, team.size, context->by_rows});
        },
        &context);
    write_state();
    cell.write_state(*this);
  }

  // Stores h' of the units from j on of the r-th row.
  void store_output(const ForwardStep<T> &s, long r, long j, Vector<T> value) const {
    store(out.y + (s.t * layer.batch + s.row[r]) * layer.out + j, value,
          (int)min(V, layer.out - j));
  }

  const Layer<T> &layer;
  const Forward<T> &out;
  const ForwardLayout layout;
  Scratch scratch;
  const RowSchedule<T> schedule;
  const Lookup<T> lookup;
  const long blocks, padded, width, chunk;
  const bool pack_weights;
  T *zero_row;

private:
  GatePanels<T> inputs;
  T *bias, *gates, *masked = nullptr;
  T **projected = nullptr; // by entry of `lookup`: its projection
  const T **pointers;

  long pointers_per_thread() const { return 2 * chunk * layer.batch + 6 * layer.batch; }

  void add_bias(const T *b, int count) {
    for (int g = 0; b && g < count; g++)
      for (long j = 0; j < layer.hidden; j++) bias[g * padded + j] += b[g * layer.hidden + j];
  }

  // Zeros the outputs past each row's length.
  void clear_padding() {
    if (!layer.lengths) return;
    for (long b = 0; b < layer.batch; b++)
      for (long t = schedule.length(b); t < layer.steps; t++) {
        memset(out.y + (t * layer.batch + b) * layer.out, 0, layer.out * sizeof(T));
        if (out.cs)
          memset(out.cs + (t * layer.batch + b) * layer.hidden, 0, layer.hidden * sizeof(T));
      }
  }

  // Writes h_n.
  void write_state() {
    const long P = layer.out;
    for (long b = 0; b < layer.batch; b++) {
      const T *h = schedule.length(b) ? out.y + (schedule.last_step(b) * layer.batch + b) * P
                                      : layer.h0 + b * P;
      memcpy(out.h_n + b * P, h, P * sizeof(T));
    }
  }

  // h' = keep h + (1 - keep) h~. Saves h~ if the gates do not determine it.
  void apply_zoneout(ThreadSlice slice, const ForwardStep<T> &s) const {
    const long panels = ceil_div(layer.out, V);
    for (long r = 0; r < s.rows; r++)
      for (long p = slice.panel_begin(panels), j = p * V; p < slice.panel_end(panels);
           p++, j += V) {
        const long at = (s.t * layer.batch + s.row[r]) * layer.out + j;
        const int count = (int)min(V, layer.out - j);
        const Vector<T> value = load(out.y + at, count),
                        keep = keep_probability(layer.h_zoneout, at, count);
        if (out.gates && layout.planes == 1) store(s.z[r] + j, value);
        store(out.y + at,
              selected<T>(keep, load(s.h[r] + j, count)) + selected<T>(T(1) - keep, value), count);
      }
  }

  // The gates of row b at time t, the s-th step of its chunk.
  T *gate(long t, long s, long b) const {
    return gates + ((out.gates ? t : s) * layer.batch + b) * width;
  }

  // zs[r] = W_ih xs[r] + b, for the panels [from, to) of units.
  void project(const T *const *xs, T *const *zs, long rows, long from, long to) const {
    gemm_rows(
        inputs, from, to, xs, rows, inputs.depth,
        [&](long p, int width, long r, const T *tile) {
          const long at = p * kMaxVectors * V;
          for (int v = 0; v < width * V; v += V)
            store(zs[r] + at + v, load(tile + v) + load(bias + at + v));
        },
        [&](long p, int width, long r) {
          prefetch_lines<1>(zs[r] + p * kMaxVectors * V, width * V);
        });
  }

  void run_slice(ForwardCell<T> &cell, Team &team, ThreadSlice slice) {
    const long B = layer.batch, P = layer.out;
    inputs.pack(slice.begin(inputs.count()), slice.end(inputs.count()));
    cell.pack(slice);
    team.barrier();
    if (lookup.count) {
      const long first = slice.begin(lookup.count);
      project(lookup.rows + first, projected + first, slice.end(lookup.count) - first, 0,
              inputs.count());
      team.barrier();
    }
    const T **xs = pointers + slice.id * pointers_per_thread();
    T **zs = const_cast<T **>(xs + chunk * B), **z = zs + chunk * B;
    const T **h = const_cast<const T **>(z + B);
    const T **a = h + B, **u = a + B, **scratch_rows = u + B;
    long *row = reinterpret_cast<long *>(scratch_rows + B);
    for (long begin = 0; begin < layer.steps; begin += chunk) {
      const long end = min(begin + chunk, layer.steps);
      long rows = 0;
      for (long s = begin; !lookup.count && s < end; s++) {
        const long t = schedule.time_of(s);
        for (long r = 0; r < slice.row_count(schedule.active(t)); r++, rows++) {
          const long b = schedule.row(slice.position(r));
          xs[rows] = layer.x + (t * B + b) * layer.features;
          zs[rows] = gate(t, s - begin, b);
        }
      }
      project(xs, zs, rows, slice.panel_begin(inputs.count()), slice.panel_end(inputs.count()));
      if (!slice.by_rows) team.barrier();
      for (long s = begin; s < end; s++) {
        const long t = schedule.time_of(s), n = slice.row_count(schedule.active(t));
        for (long r = 0; r < n; r++) {
          const long b = row[r] = schedule.row(slice.position(r));
          h[r] = schedule.is_reset(t, b)   ? zero_row
                 : schedule.is_first(t, b) ? layer.h0 + b * P
                                           : out.y + (schedule.previous(t) * B + b) * P;
          z[r] = gate(t, s - begin, b);
          u[r] = lookup.count ? projected[lookup.at(t, b)] : z[r];
          a[r] = h[r];
          if (masked) {
            T *row = masked + (slice.id * B + b) * P;
            apply_h_mask(row, h[r], layer.h_mask + b * P, P);
            a[r] = row;
          }
        }
        const ForwardStep<T> step{t, n, row, h, a, u, z, scratch_rows};
        cell.step(*this, team, slice, step);
        if (!slice.by_rows) team.barrier();
        if (layer.h_zoneout.keep) {
          apply_zoneout(slice, step);
          if (!slice.by_rows) team.barrier();
        }
      }
    }
  }
};

template <class T, class Cell> void run_forward(const Layer<T> &layer, const Forward<T> &out) {
  ForwardPass<T> pass(layer, out, Cell::layout);
  Cell cell(pass);
  pass.run(cell);
}

} // namespace tgrnn::LEVEL
