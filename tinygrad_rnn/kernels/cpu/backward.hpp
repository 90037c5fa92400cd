// The backward pass of any cell: step by step, then the weights' gradients of some steps at once.
//
// The gates' cotangents of a chunk of steps lie in one buffer that stays in the cache; dx and the
// weights' gradients are taken from it when the chunk is complete. What the recurrence hands on to
// the step before, it keeps in `dh`, where the cotangents of the final state lie at first.
#pragma once

#include "course.hpp"
#include "weights.hpp"

namespace tgrnn::LEVEL {

constexpr long gradient_rows = 384; // rows, of all steps together, that make a chunk

// What a cell is told of a step: rows [0, running) take it; the others up to `rows` have taken
// the one that was before in this pass, and have only that one's product to receive.
template <class T> struct BackStep {
  long t, rows, running;
  const long *row;     // which rows of the batch they are
  const T *const *dz;  // their gates' cotangents of the step that was before in this pass, or zeros
  long depth;          // 0 at a chunk's first step, where nothing is left to be received
  T *const *to;        // where the gates' cotangents go
};

template <class T, template <class> class Cell> class BackwardPass {
public:
  static constexpr int V = lanes<T>;

  BackwardPass(const Layer<T> &layer, const Backward<T> &io)
      : layer(layer), io(io), course(layer, scratch), blocks(parts(layer.hidden, V)), padded(blocks * V),
        width(Cell<T>::planes * padded), stride(width + V), // rows apart by no power of two: they would share sets
        chunk(larger(1, smaller(layer.steps, gradient_rows / layer.batch))),
        padded_out(parts(layer.out, V) * V) {
    const long B = layer.batch, H = layer.hidden, count = Cell<T>::planes * padded;
    nothing = scratch.template zeros<T>(larger(width, larger(H, larger(layer.features, layer.out)) + V));
    dz = scratch.template take<T>(chunk * B * stride);
    dh = padded_copy(io.gh, layer.out, padded_out);
    unturned = scratch.template take<const T *>(2 * count);
    for (long m = 0; m < count; m++) { // weights' rows as dz has them: in planes, zeros in between
      const long g = m / padded, j = m % padded;
      const int in = Cell<T>::input_gate((int)g), rec = Cell<T>::recurrent_gate((int)g);
      unturned[m] = j < H && in >= 0 ? layer.w_ih + (in * H + j) * layer.features : nothing;
      unturned[count + m] = j < H && rec >= 0 ? layer.w_hh + (rec * H + j) * layer.out : nothing;
    }
    cell.prepare(*this);
    if (io.dx) w_ih = new (scratch.template take<RowPanels<T>>(1)) RowPanels<T>(scratch, unturned, width, layer.features);
    const long depth = chunk * B;
    xs = scratch.template take<const T *>(2 * depth);
    hs = xs + depth;
    if (io.dw_ih) x_panels = new (scratch.template take<RowPanels<T>>(1)) RowPanels<T>(scratch, xs, depth, layer.features);
    if (io.dw_hh) h_panels = new (scratch.template take<RowPanels<T>>(1)) RowPanels<T>(scratch, hs, depth, layer.out);
    if (io.db_ih || io.db_hh) bias = scratch.template zeros<T>(width);
    dxs = scratch.template take<T *>(depth);
    dzs = scratch.template take<const T *>(depth);
    columns = scratch.template take<const T *>(2 * Cell<T>::planes * H);
    targets = scratch.template take<T *>(2 * Cell<T>::planes * H);
    for (int g = 0; g < Cell<T>::planes; g++)
      for (long j = 0; j < H; j++) {
        if (const int in = Cell<T>::input_gate(g); in >= 0 && io.dw_ih) {
          columns[input_columns] = dz + g * padded + j;
          targets[input_columns++] = io.dw_ih + (in * H + j) * layer.features;
        }
      }
    for (int g = 0; g < Cell<T>::planes; g++)
      for (long j = 0; j < H; j++)
        if (const int rec = Cell<T>::recurrent_gate(g); rec >= 0 && io.dw_hh) {
          columns[input_columns + recurrent_columns] = dz + g * padded + j;
          targets[input_columns + recurrent_columns++] = io.dw_hh + (rec * H + j) * layer.out;
        }
  }

  void run() {
    const bool by_rows = layer.batch >= 2 * layer.threads || layer.threads == 1;
    struct Context {
      BackwardPass *pass;
      bool by_rows;
    } context = {this, by_rows};
    clear();
    room = scratch.template take<const T *>(layer.threads * room_of_thread());
    tgrnn::run(layer.threads,
               [](void *c, Team &team, int id) {
                 Context *context = static_cast<Context *>(c);
                 context->pass->part(team, {id, team.size, context->by_rows});
               },
               &context);
    for (long b = 0; io.dh0 && b < layer.batch; b++)
      memcpy(io.dh0 + b * layer.out, dh + b * padded_out, layer.out * sizeof(T));
    for (int g = 0; bias && g < Cell<T>::planes; g++) {
      const int in = Cell<T>::input_gate(g), rec = Cell<T>::recurrent_gate(g);
      const long bytes = layer.hidden * sizeof(T);
      if (io.db_ih && in >= 0) memcpy(io.db_ih + in * layer.hidden, bias + g * padded, bytes);
      if (io.db_hh && rec >= 0) memcpy(io.db_hh + rec * layer.hidden, bias + g * padded, bytes);
    }
    cell.last(*this);
  }

  // A copy of (B, n), each row to whole vectors; zeros if there is none.
  T *padded_copy(const T *from, long n, long to) {
    T *copy = scratch.template zeros<T>(layer.batch * to);
    for (long b = 0; from && b < layer.batch; b++) memcpy(copy + b * to, from + b * n, n * sizeof(T));
    return copy;
  }

  const T *h_before(long t, long b) const {
    return course.first(t, b) ? layer.h0 + b * layer.out : io.y + (course.before(t) * layer.batch + b) * layer.out;
  }

  const Layer<T> &layer;
  const Backward<T> &io;
  Scratch scratch;
  const Course<T> course;
  const long blocks, padded, width, stride, chunk, padded_out;
  T *dh;                          // (B, padded_out)
  const T *const *recurrent_rows() const { return unturned + width; }

private:
  Cell<T> cell;
  T *dz, *bias = nullptr, *nothing;
  const T **unturned, **xs, **hs, **dzs, **columns, **room;
  T **dxs, **targets;
  RowPanels<T> *w_ih = nullptr, *x_panels = nullptr, *h_panels = nullptr;
  long input_columns = 0, recurrent_columns = 0;

  long room_of_thread() const { return 3 * layer.batch; }

  void clear() {
    if (!io.dx || !layer.lengths) return;
    for (long b = 0; b < layer.batch; b++)
      for (long t = course.length(b); t < layer.steps; t++)
        memset(io.dx + (t * layer.batch + b) * layer.features, 0, layer.features * sizeof(T));
  }

  void part(Team &team, Share share) {
    const long B = layer.batch;
    cell.pack(*this, share);
    if (w_ih) w_ih->pack(share.some_from(w_ih->count()), share.some_to(w_ih->count()));
    team.barrier();
    const T **from = room + share.id * room_of_thread();
    T **to = const_cast<T **>(from + B);
    long *row = reinterpret_cast<long *>(to + B);
    for (long begin = 0; begin < layer.steps; begin += chunk) { // counted from the last step in running order
      const long end = smaller(begin + chunk, layer.steps);
      long filled = 0, before = 0, running_before = 0; // rows of dz; where the rows of the step before begin
      for (long s = begin; s <= end; s++) { // at `end`: only receives
        const long t = course.time(layer.steps - 1 - s);
        const long all = s < end ? course.running(t) : 0, running = share.rows(all);
        const long rows = larger(running, running_before);
        for (long r = 0; r < rows; r++) {
          const long position = share.position(r);
          row[r] = course.row(position);
          from[r] = r < running_before ? dz + (before + position) * stride : nothing;
          to[r] = dz + (filled + position) * stride;
        }
        cell.step(*this, share, BackStep<T>{t, rows, running, row, from, s == begin ? 0 : width, to});
        if (!share.by_rows) team.barrier();
        before = filled;
        filled += all;
        running_before = running;
      }
      team.barrier();
      gradients(team, share, begin, end, filled);
      team.barrier();
    }
  }

  // dx and the weights' gradients from a complete chunk.
  void gradients(Team &team, Share share, long begin, long end, long depth) {
    const long B = layer.batch;
    if (share.id == 0) {
      long k = 0;
      for (long s = begin; s < end; s++) {
        const long t = course.time(layer.steps - 1 - s);
        for (long r = 0; r < course.running(t); r++, k++) {
          const long b = course.row(r), at = (t * B + b) * layer.features;
          xs[k] = layer.x + at;
          hs[k] = h_before(t, b);
          dzs[k] = dz + k * stride;
          if (io.dx) dxs[k] = io.dx + at;
        }
      }
      if (x_panels) x_panels->depth = depth;
      if (h_panels) h_panels->depth = depth;
    }
    team.barrier();
    if (x_panels) x_panels->pack(share.some_from(x_panels->count()), share.some_to(x_panels->count()));
    if (h_panels) h_panels->pack(share.some_from(h_panels->count()), share.some_to(h_panels->count()));
    if (w_ih) {
      const long first = share.some_from(depth), I = layer.features;
      sweep(*w_ih, 0, w_ih->count(), dzs + first, 1, share.some_to(depth) - first, width,
            [&](long p, int n, long r, const T *tile) {
              T *dx = dxs[first + r];
              for (long v = 0, at = p * widest * V; v < n; v++, at += V)
                store(dx + at, load(tile + v * V), (int)smaller(V, I - at));
            });
    }
    team.barrier();
    if (x_panels) weight_gradient(*x_panels, share, begin == 0, 0, input_columns, layer.features);
    if (h_panels) weight_gradient(*h_panels, share, begin == 0, input_columns, recurrent_columns, layer.out);
    if (bias)
      for (long v = share.some_from(width / V); v < share.some_to(width / V); v++) {
        Vector<T> sum = load(bias + v * V);
        for (long k = 0; k < depth; k++) sum += load(dz + k * stride + v * V);
        store(bias + v * V, sum);
      }
  }

  void weight_gradient(const Panels<T> &panels, Share share, bool fresh, long first, long count, long n) {
    constexpr long block = 48; // rows whose cotangents stay in the first cache for all panels
    const long end = first + share.some_to(count);
    for (long m = first + share.some_from(count); m < end; m += block)
      sweep(panels, 0, panels.count(), columns + m, stride, smaller(block, end - m), panels.depth,
            [&](long p, int width, long r, const T *tile) {
              T *dw = targets[m + r];
              for (long v = 0, at = p * widest * V; v < width; v++, at += V) {
                const int some = (int)smaller(V, n - at);
                store(dw + at, fresh ? load(tile + v * V) : load(tile + v * V) + load(dw + at, some), some);
              }
            });
  }
};

} // namespace tgrnn::LEVEL
