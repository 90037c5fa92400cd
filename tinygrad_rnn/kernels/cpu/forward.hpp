// The forward pass of any cell: the inputs of some steps through one product, then step by step.
//
// Steps are taken in chunks, so that what the product gives is still in the cache when the
// recurrence reads it. Rows of a table are multiplied once, before all steps. A cell says how many gates it has, packs its recurrent weights, and says
// what a step does with the rows that run.
#pragma once

#include "course.hpp"
#include "lookup.hpp"
#include "weights.hpp"

namespace tgrnn::LEVEL {

constexpr long chunk_rows = 256; // rows, of all steps together, that make a chunk
constexpr long few_rows = 16;     // of all steps together: weights used so seldom are not packed

// What a cell is told of a step: its rows, and where their data lie.
template <class T> struct Step {
  long t, rows;
  const long *row;    // which rows of the batch they are
  const T *const *h;  // their h of the step before
  const T *const *a;  // the same as it enters the products: h, or h_mask * h
  const T *const *u;  // their gates' part of the input
  T *const *z;        // where their gates' activations may be put: u may be there, too
  const T **spare;    // room for as many pointers
};

template <class T> class ForwardPass;

// What a cell does in a forward pass. It is constructed with the pass, which has its layout by then.
template <class T> struct ForwardCell {
  virtual void pack(Share share) = 0; // a part of the recurrent weights
  virtual void step(const ForwardPass<T> &pass, Team &team, Share share, const Step<T> &s) = 0;
  virtual void last(const ForwardPass<T> &) const {} // writes the final state, but for h
};

// How many gates a cell has, how many of them add b_hh to the part of the input, and how many planes
// of Hp hold what a step saves.
struct ForwardLayout {
  int gates, gates_with_both_biases, planes;
};

template <class T> class ForwardPass {
public:
  static constexpr int V = lanes<T>;

  ForwardPass(const Layer<T> &layer, const Forward<T> &out, ForwardLayout layout)
      : layer(layer), out(out), layout(layout), course(layer, scratch), lookup(layer, course, scratch), blocks(parts(layer.hidden, V)), padded(blocks * V),
        width(layout.planes * padded), chunk(larger(1, smaller(layer.steps, chunk_rows / layer.batch))),
        pack_weights(layer.steps * layer.batch > few_rows), inputs(scratch, layer.w_ih, layer.hidden, layer.features, 0, layout.gates, 0, pack_weights) {
    bias = scratch.template zeros<T>(inputs.vectors * V);
    add_bias(layer.b_ih, layout.gates);
    add_bias(layer.b_hh, layout.gates_with_both_biases);
    nothing = scratch.template zeros<T>(larger(padded, layer.out));
    if (layer.h_mask) masked = scratch.template take<T>(layer.threads * layer.batch * layer.out);
    gates = out.gates ? out.gates : scratch.template take<T>(chunk * layer.batch * width);
    if (!lookup.count) return;
    T *products = scratch.template take<T>(lookup.count * inputs.vectors * V);
    projected = scratch.template take<T *>(lookup.count);
    for (long k = 0; k < lookup.count; k++) projected[k] = products + k * inputs.vectors * V;
  }

  void run(ForwardCell<T> &cell) {
    const bool by_rows = layer.batch >= 2 * layer.threads || layer.threads == 1;
    clear();
    struct Context {
      ForwardPass *pass;
      ForwardCell<T> &cell;
      bool by_rows;
    } context = {this, cell, by_rows};
    room = scratch.template take<const T *>(layer.threads * room_of_thread());
    tgrnn::run(layer.threads,
               [](void *c, Team &team, int id) {
                 Context *context = static_cast<Context *>(c);
                 context->pass->part(context->cell, team, {id, team.size, context->by_rows});
               },
               &context);
    last();
    cell.last(*this);
  }

  // A vector of what a step has made of h is put where the output belongs.
  void put(const Step<T> &s, long r, long j, Vector<T> made) const {
    store(out.y + (s.t * layer.batch + s.row[r]) * layer.out + j, made, (int)smaller(V, layer.out - j));
  }

  const Layer<T> &layer;
  const Forward<T> &out;
  const ForwardLayout layout;
  Scratch scratch;
  const Course<T> course;
  const Lookup<T> lookup;
  const long blocks, padded, width, chunk;
  const bool pack_weights;
  T *nothing; // a row of zeros

private:
  GatePanels<T> inputs;
  T *bias, *gates, *masked = nullptr;
  T **projected = nullptr; // of each row of a table that occurs, the gates' part of the input
  const T **room;

  long room_of_thread() const { return 2 * chunk * layer.batch + 6 * layer.batch; }

  void add_bias(const T *b, int count) {
    for (int g = 0; b && g < count; g++)
      for (long j = 0; j < layer.hidden; j++) bias[g * padded + j] += b[g * layer.hidden + j];
  }

  // Outputs past a row's length are zero.
  void clear() {
    if (!layer.lengths) return;
    for (long b = 0; b < layer.batch; b++)
      for (long t = course.length(b); t < layer.steps; t++) {
        memset(out.y + (t * layer.batch + b) * layer.out, 0, layer.out * sizeof(T));
        if (out.cs) memset(out.cs + (t * layer.batch + b) * layer.hidden, 0, layer.hidden * sizeof(T));
      }
  }

  // The state after each row's last step.
  void last() {
    const long P = layer.out;
    for (long b = 0; b < layer.batch; b++) {
      const T *h = course.length(b) ? out.y + (course.last(b) * layer.batch + b) * P : layer.h0 + b * P;
      memcpy(out.h_n + b * P, h, P * sizeof(T));
    }
  }

  // Zoneout: a share of the old h survives what a step has made, which is kept if the gates do not tell.
  void mix(Share share, const Step<T> &s) const {
    const long panels = parts(layer.out, V);
    for (long r = 0; r < s.rows; r++)
      for (long p = share.from(panels), j = p * V; p < share.to(panels); p++, j += V) {
        const long at = (s.t * layer.batch + s.row[r]) * layer.out + j;
        const int some = (int)smaller(V, layer.out - j);
        const Vector<T> made = load(out.y + at, some), old = survives(layer.h_zone, at, some);
        if (out.gates && layout.planes == 1) store(s.z[r] + j, made);
        store(out.y + at, old * load(s.h[r] + j, some) + (T(1) - old) * made, some);
      }
  }

  T *gate(long t, long s, long b) const { // s: counted from the beginning of its chunk
    return gates + ((out.gates ? t : s) * layer.batch + b) * width;
  }

  // The gates' part of some inputs, of the panels [from, to).
  void project(const T *const *xs, T *const *zs, long rows, long from, long to) const {
    sweep(inputs, from, to, xs, rows, inputs.depth,
          [&](long p, int width, long r, const T *tile) {
            const long at = p * widest * V;
            for (int v = 0; v < width * V; v += V) store(zs[r] + at + v, load(tile + v) + load(bias + at + v));
          },
          [&](long p, int width, long r) { fetch<1>(zs[r] + p * widest * V, width * V); });
  }

  void part(ForwardCell<T> &cell, Team &team, Share share) {
    const long B = layer.batch, P = layer.out;
    inputs.pack(share.some_from(inputs.count()), share.some_to(inputs.count()));
    cell.pack(share);
    team.barrier();
    if (lookup.count) {
      const long first = share.some_from(lookup.count);
      project(lookup.rows + first, projected + first, share.some_to(lookup.count) - first, 0, inputs.count());
      team.barrier();
    }
    const T **xs = room + share.id * room_of_thread();
    T **zs = const_cast<T **>(xs + chunk * B), **z = zs + chunk * B;
    const T **h = const_cast<const T **>(z + B);
    const T **a = h + B, **u = a + B, **spare = u + B;
    long *row = reinterpret_cast<long *>(spare + B);
    for (long begin = 0; begin < layer.steps; begin += chunk) {
      const long end = smaller(begin + chunk, layer.steps);
      long rows = 0;
      for (long s = begin; !lookup.count && s < end; s++) {
        const long t = course.time(s);
        for (long r = 0; r < share.rows(course.running(t)); r++, rows++) {
          const long b = course.row(share.position(r));
          xs[rows] = layer.x + (t * B + b) * layer.features;
          zs[rows] = gate(t, s - begin, b);
        }
      }
      project(xs, zs, rows, share.from(inputs.count()), share.to(inputs.count()));
      if (!share.by_rows) team.barrier();
      for (long s = begin; s < end; s++) {
        const long t = course.time(s), n = share.rows(course.running(t));
        for (long r = 0; r < n; r++) {
          const long b = row[r] = course.row(share.position(r));
          h[r] = course.anew(t, b)    ? nothing
                 : course.first(t, b) ? layer.h0 + b * P : out.y + (course.before(t) * B + b) * P;
          z[r] = gate(t, s - begin, b);
          u[r] = lookup.count ? projected[lookup.at(t, b)] : z[r];
          a[r] = h[r];
          if (masked) {
            T *row = masked + (share.id * B + b) * P;
            for (long j = 0; j < P; j++) row[j] = h[r][j] * layer.h_mask[b * P + j];
            a[r] = row;
          }
        }
        const Step<T> step{t, n, row, h, a, u, z, spare};
        cell.step(*this, team, share, step);
        if (!share.by_rows) team.barrier();
        if (layer.h_zone.shares) {
          mix(share, step);
          if (!share.by_rows) team.barrier();
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
