// The backward pass of any cell: step by step, then the weights' gradients of some steps at once.
//
// The gates' cotangents of a chunk of steps lie in one buffer that stays in the cache; dx and the
// weights' gradients are taken from it when the chunk is complete. Where inputs are rows of a table,
// the cotangents of what each of them gave are summed first, and its products made in the end. What
// the recurrence hands on to the step before, it keeps in `dh`, where the cotangents of the final
// state lie at first.
#pragma once

#include "gradient.hpp"
#include "lookup.hpp"

namespace tgrnn::LEVEL {

constexpr long gradient_rows = 512; // rows, of all steps together, that make a chunk

// What a cell is told of a step: rows [0, running) take it; the others up to `rows` have taken
// the one that was before in this pass, and have only that one's product to receive.
template <class T> struct BackStep {
  long t, rows, running;
  const long *row;    // which rows of the batch they are
  const T *const *dz; // their gates' cotangents of the step that was before in this pass, or zeros
  bool received;      // false where that one's product is in dh already
  const T *gy;        // the output's cotangent, null if there is none or it is in dh already
  T *const *to;       // where their gates' cotangents go
  const T **spare;    // room for as many pointers
};

template <class T> class BackwardPass;

// What a cell does in a backward pass. It is constructed with the pass, which has its layout by then.
template <class T> struct BackwardCell {
  virtual void pack(Share share) = 0; // a part of the recurrent weights
  virtual void step(const BackwardPass<T> &pass, Team &team, Share share, const BackStep<T> &s) = 0;
  virtual void last(const BackwardPass<T> &) const {} // writes the gradients that the pass does not
};

// A cell's cotangents lie in planes of Hp: the first of them, one for each gate, belong to the
// products with the inputs, the last to those with h; `gate_of_plane` says to which gate.
struct BackwardLayout {
  int gates, planes;
  bool resets_before; // whether n's product is with r * h, which lies in the fourth plane of what is saved
  int gate_of_plane[4];
};

template <class T> class BackwardPass {
public:
  static constexpr int V = lanes<T>;

  BackwardPass(const Layer<T> &layer, const Backward<T> &io, const BackwardLayout &layout)
      : layer(layer), io(io), layout(layout), first_recurrent(layout.planes - layout.gates), course(layer, scratch), lookup(layer, course, scratch), padded(parts(layer.hidden, V) * V),
        padded_out(parts(layer.out, V) * V), dh(padded_copy(io.gh, layer.out, padded_out)),
        nothing(scratch.template zeros<T>(larger(layout.planes * padded, larger(layer.features, layer.out)) + V)),
        width(layout.planes * padded),
        stride(width + (layer.w_hr ? padded_out + padded : 0) + V), // no power of two: rows would share sets of the cache
        chunk(larger(1, smaller(layer.steps, gradient_rows / layer.batch))), most(chunk * layer.batch),
        dz(scratch.template take<T>(most * stride)),
        summed(scratch.template zeros<T>(lookup.count * layout.gates * padded)), bias(scratch.template zeros<T>(width)),
        masked(layer.h_mask ? scratch.template take<T>(most * layer.out) : nullptr),
        past(layer.h_zone.shares ? scratch.template take<T>(layer.batch * padded_out) : nullptr),
        dzs(scratch.template take<const T *>(most)), dxs(scratch.template take<T *>(most)),
        room(scratch.template take<const T *>(layer.threads * room_of_thread())),
        w_rows(weight_rows(layer.w_ih, 0, layer.features)),
        w_ih(scratch, w_rows, layout.gates * padded, layer.features),
        in(scratch, most, layer.features, layout.gates * layer.hidden),
        recurrent(scratch, most, layer.out, layout.gates * layer.hidden),
        reset(scratch, layout.resets_before ? most : 0, layer.out, layer.hidden),
        projection(scratch, layer.w_hr ? most : 0, layer.hidden, layer.out) {
    const long H = layer.hidden;
    for (int g = 0; g < layout.gates; g++) {
      const int gate = layout.gate_of_plane[g], rec = layout.gate_of_plane[first_recurrent + g];
      if (io.dw_ih) in.rows(io.dw_ih + gate * H * layer.features, dz + g * padded, H);
      if (io.dw_hh)
        (layout.resets_before && rec == 2 ? reset : recurrent)
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
    clear();
    tgrnn::run(layer.threads,
               [](void *c, Team &team, int id) {
                 Context *context = static_cast<Context *>(c);
                 context->pass->part(context->cell, team, {id, team.size, context->by_rows});
               },
               &context);
    const long H = layer.hidden, P = layer.out;
    for (long b = 0; io.dh0 && b < layer.batch; b++) memcpy(io.dh0 + b * P, dh + b * padded_out, P * sizeof(T));
    for (int g = 0; g < layout.gates; g++) {
      const int at = first_recurrent + g;
      if (io.db_ih) memcpy(io.db_ih + layout.gate_of_plane[g] * H, bias + g * padded, H * sizeof(T));
      if (io.db_hh) memcpy(io.db_hh + layout.gate_of_plane[at] * H, bias + at * padded, H * sizeof(T));
    }
    cell.last(*this);
  }

  // A copy of (B, n), each row to whole vectors; zeros if there is none.
  T *padded_copy(const T *from, long n, long to) {
    T *copy = scratch.template zeros<T>(layer.batch * to);
    for (long b = 0; from && b < layer.batch; b++) memcpy(copy + b * to, from + b * n, n * sizeof(T));
    return copy;
  }

  // Pointers to w's rows as dz has their gates, from the plane `first`: zeros between the planes.
  const T *const *weight_rows(const T *w, int first, long columns) {
    const T **rows = scratch.template take<const T *>(layout.gates * padded);
    for (int g = 0; g < layout.gates; g++)
      for (long j = 0; j < padded; j++)
        rows[g * padded + j] = j < layer.hidden
                                   ? w + (layout.gate_of_plane[first + g] * layer.hidden + j) * columns
                                   : nothing;
    return rows;
  }
  const T *const *recurrent_rows() { return weight_rows(layer.w_hh, first_recurrent, layer.out); }

  // A vector of gates' cotangents, zero past the last unit: products sum over whole vectors, and what
  // infinities leave there is no number.
  Vector<T> units(Vector<T> d, long j) const {
    return j + V <= layer.hidden ? d : first_lanes<T>(d, (int)(layer.hidden - j));
  }

  const T *h_before(long t, long b) const {
    return course.anew(t, b)    ? nothing
           : course.first(t, b) ? layer.h0 + b * layer.out : io.y + (course.before(t) * layer.batch + b) * layer.out;
  }

  // What a product gives for h, through the mask that h went through.
  Vector<T> unmasked(const T *tile, long b, long j) const {
    const Vector<T> d = load(tile);
    return layer.h_mask ? d * load(layer.h_mask + b * layer.out + j, (int)smaller(V, layer.out - j)) : d;
  }

  // A vector of the cotangent of what a step makes of h, from a product, what was kept and the output's.
  // False, and it is kept, if the row does not run.
  bool receive(const BackStep<T> &s, long r, long j, const T *tile, Vector<T> &dh) const {
    const long b = s.row[r], P = layer.out;
    T *kept = this->dh + b * padded_out + j;
    dh = s.dz[r] == nothing ? load(kept) : unmasked(tile, b, j) + load(kept); // weights may be infinite
    if (r >= s.running) return store(kept, dh), false;
    if (s.gy) dh += load(s.gy + (s.t * layer.batch + b) * P + j, (int)smaller(V, P - j));
    return true;
  }

  const Layer<T> &layer;
  const Backward<T> &io;
  const BackwardLayout layout;
  const int first_recurrent; // plane
  Scratch scratch;
  const Course<T> course;
  const Lookup<T> lookup;
  const long padded, padded_out;
  T *const dh; // (B, padded_out)
  T *nothing;  // a row of zeros
  const long width; // of the planes; under a projection follow the cotangent of its result, and what it is of

private:
  const long stride, chunk, most;
  T *dz, *summed, *bias, *masked, *past; // summed: cotangents by row of a table
  const T **dzs;
  T **dxs;
  const T **room;
  const T *const *w_rows;
  RowPanels<T> w_ih;
  WeightGradient<T> in, recurrent, reset, projection;

  long room_of_thread() const { return 4 * layer.batch; }

  // No cotangent reaches inputs past a row's length.
  void clear() {
    if (io.dx && layer.ids) memset(io.dx, 0, layer.entries * layer.features * sizeof(T));
    if (!io.dx || layer.ids || !layer.lengths) return;
    for (long b = 0; b < layer.batch; b++)
      for (long t = course.length(b); t < layer.steps; t++)
        memset(io.dx + (t * layer.batch + b) * layer.features, 0, layer.features * sizeof(T));
  }

  void part(BackwardCell<T> &cell, Team &team, Share share) {
    cell.pack(share);
    if (io.dx) w_ih.pack(share.some_from(w_ih.count()), share.some_to(w_ih.count()));
    team.barrier();
    for (long begin = 0; begin < layer.steps; begin += chunk) { // counted from the last step in running order
      const long end = smaller(begin + chunk, layer.steps);
      const long filled = recurrence(cell, team, share, begin, end);
      team.barrier();
      gradients(team, share, begin, end, filled);
      team.barrier();
    }
    for (long first = 0; first < lookup.count; first += most) {
      of_table(team, share, first, smaller(most, lookup.count - first));
      team.barrier();
    }
  }

  // The steps of a chunk. Returns how many rows of dz are filled.
  long recurrence(BackwardCell<T> &cell, Team &team, Share share, long begin, long end) {
    const long B = layer.batch;
    const T **from = room + share.id * room_of_thread(), **spare = from + B;
    T **to = const_cast<T **>(spare + B);
    long *row = reinterpret_cast<long *>(to + B);
    long filled = 0, before = 0, running_before = 0; // before: where the rows of the step before begin
    long t_before = 0;
    for (long s = begin; s <= end; s++) { // at `end`: what the last step hands on is received
      const long t = course.time(layer.steps - 1 - s);
      const long all = s < end ? course.running(t) : 0, running = share.rows(all), rows = larger(running, running_before);
      for (long r = 0; r < rows; r++) {
        const long position = share.position(r);
        row[r] = course.row(position);
        from[r] = r < running_before && !course.anew(t_before, row[r]) ? dz + (before + position) * stride : nothing;
        to[r] = dz + (filled + position) * stride;
      }
      BackStep<T> step{t, rows, running, row, from, s > begin, io.gy, to, spare};
      if (layer.h_zone.shares && running) { // first all of h's cotangent is received, then parted
        BackStep<T> none = step;
        none.running = 0;
        cell.step(*this, team, share, none);
        own(share, step, [&](T *d, long b, long j) { split(d, past + b * padded_out + j, (t * layer.batch + b) * layer.out + j, j); });
        step.rows = running, step.received = false, step.gy = nullptr;
      }
      cell.step(*this, team, share, step);
      if (layer.h_zone.shares) own(share, step, [&](T *d, long b, long j) { store(d, load(d) + load(past + b * padded_out + j)); });
      if (layer.reset) // nothing of h goes on to what was before
        own(share, step, [&](T *d, long b, long) {
          if (course.anew(t, b)) store(d, Vector<T>{});
        });
      if (!share.by_rows) team.barrier();
      before = filled;
      t_before = t;
      filled += all;
      running_before = running;
    }
    return filled;
  }

  // Does something to each vector of dh of the rows that run, as far as it is the thread's own.
  template <class F> void own(Share share, const BackStep<T> &s, F f) const {
    const long panels = parts(padded_out / V, widest), to = smaller(share.to(panels) * widest * V, padded_out);
    for (long r = 0; r < s.running; r++)
      for (long j = share.from(panels) * widest * V; j < to; j += V) f(dh + s.row[r] * padded_out + j, s.row[r], j);
  }

  // Zoneout: of the cotangent of h' a share passes by the step, the rest goes through it.
  void split(T *d, T *past, long at, long j) const {
    const int some = (int)smaller(V, layer.out - j);
    const Vector<T> old = survives(layer.h_zone, at, some), all = io.gy ? load(d) + load(io.gy + at, some) : load(d);
    store(past, old * all);
    store(d, (T(1) - old) * all);
  }

  // dx and the weights' gradients from the rows of a chunk.
  void gradients(Team &team, Share share, long begin, long end, long depth) {
    if (share.id == 0) {
      long k = 0;
      for (long s = begin; s < end; s++) {
        const long t = course.time(layer.steps - 1 - s);
        for (long r = 0; r < course.running(t); r++, k++) {
          const long b = course.row(r), at = t * layer.batch + b;
          dzs[k] = dz + k * stride;
          if (lookup.count) {
            dxs[k] = summed + lookup.at(t, b) * layout.gates * padded;
          } else {
            dxs[k] = io.dx + at * layer.features;
            in.operands[k] = layer.x + at * layer.features;
          }
          recurrent.operands[k] = h_before(t, b);
          if (masked) {
            T *row = masked + k * layer.out;
            for (long j = 0; j < layer.out; j++) row[j] = recurrent.operands[k][j] * layer.h_mask[b * layer.out + j];
            recurrent.operands[k] = row;
          }
          if (layout.resets_before) reset.operands[k] = io.gates + (at * 4 + 3) * padded;
          if (layer.w_hr) projection.operands[k] = dzs[k] + width + padded_out;
        }
      }
      for (WeightGradient<T> *w : weights) w->begin(depth, stride);
    }
    team.barrier();
    for (WeightGradient<T> *w : weights)
      if (w != &in || !lookup.count) w->pack(share);
    if (lookup.count) {
      const long vectors = layout.gates * padded / V, from = share.some_from(vectors) * V, to = share.some_to(vectors) * V;
      for (long k = 0; k < depth; k++)
        for (long v = from; v < to; v += V) store(dxs[k] + v, load(dxs[k] + v) + load(dzs[k] + v));
    } else {
      inputs(share, depth);
    }
    team.barrier();
    for (WeightGradient<T> *w : weights)
      if (w != &in || !lookup.count) w->add(share, begin == 0);
    if (io.db_ih || io.db_hh)
      for (long v = share.some_from(width / V) * V; v < share.some_to(width / V) * V; v += V) {
        Vector<T> sum = load(bias + v);
        for (long k = 0; k < depth; k++) sum += load(dz + k * stride + v);
        store(bias + v, sum);
      }
  }

  // dx of the rows of a chunk.
  void inputs(Share share, long depth) {
    if (!io.dx) return;
    const long first = share.some_from(depth), I = layer.features;
    sweep(w_ih, 0, w_ih.count(), dzs + first, share.some_to(depth) - first, w_ih.depth,
          [&](long p, int width, long r, const T *tile) {
            T *dx = dxs[first + r];
            for (long v = 0, at = p * widest * V; v < width; v++, at += V)
              store(dx + at, load(tile + v * V), (int)smaller(V, I - at));
          });
  }

  // The products of some rows of a table, as if they were the inputs of a chunk.
  void of_table(Team &team, Share share, long first, long depth) {
    if (share.id == 0) {
      for (long k = 0; k < depth; k++) {
        const T *row = in.operands[k] = lookup.rows[first + k];
        dzs[k] = dz + k * stride;
        dxs[k] = io.dx + (row - layer.x);
        memcpy(dz + k * stride, summed + (first + k) * layout.gates * padded, layout.gates * padded * sizeof(T));
      }
      in.begin(depth, stride);
    }
    team.barrier();
    in.pack(share);
    inputs(share, depth);
    team.barrier();
    in.add(share, first == 0);
  }

  WeightGradient<T> *const weights[4] = {&in, &recurrent, &reset, &projection};
};

template <class T, class Cell> void run_backward(const Layer<T> &layer, const Backward<T> &io) {
  BackwardPass<T> pass(layer, io, Cell::layout);
  Cell cell(pass);
  pass.run(cell);
}

} // namespace tgrnn::LEVEL
