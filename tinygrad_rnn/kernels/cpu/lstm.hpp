// The LSTM, c' = f c + i g and h' = o tanh(c'): cells for `run_forward` and `run_backward`.
//
// Gates i, f, g, o, one plane each; with Gates = 3 i, g, o and f = 1 - i. A panel of recurrent
// weights holds one vector of units of every gate. Peepholes, a projection, clipping and zoneout of
// c are compiled in only with `Extras`.
#pragma once

#include "backward.hpp"
#include "forward.hpp"
#include "math.hpp"

namespace tgrnn::LEVEL {

// The options of an LSTM, applied to vectors of units.
template <class T, bool Extras> struct LstmExtras {
  static constexpr int V = lanes<T>;
  const Layer<T> &layer;

  bool has_projection() const { return Extras && layer.w_hr; }
  bool has_peepholes() const { return Extras && layer.w_ch; }
  bool has_clip() const { return Extras && layer.cell_clip > 0; }
  bool has_zoneout() const { return Extras && layer.c_zoneout.keep; }

  // The k-th peephole weights of the units from j on.
  Vector<T> peephole(int k, long j) const {
    return load(layer.w_ch + k * layer.hidden + j, (int)min(V, layer.hidden - j));
  }

  // A gate's preactivation plus peephole * c.
  Vector<T> add_peephole(Vector<T> gate, int k, long j, Vector<T> c) const {
    return has_peepholes() ? gate + peephole(k, j) * c : gate;
  }

  Vector<T> clip(Vector<T> c) const {
    if (!has_clip()) return c;
    const Vector<T> high = broadcast(layer.cell_clip);
    c = c > high ? high : c;
    return c < -high ? -high : c;
  }

  // The backward of clip: d where c is within the bounds.
  Vector<T> clip_gradient(Vector<T> c, Vector<T> d) const {
    const Vector<T> high = broadcast(layer.cell_clip);
    return c > high ? Vector<T>{} : c < -high ? Vector<T>{} : d;
  }
};

template <class T, int Gates, bool Extras> struct LstmForward final : ForwardCell<T> {
  static constexpr int V = lanes<T>, G = Gates - 2, O = Gates - 1;
  static constexpr ForwardLayout layout = {Gates, Gates, Gates};
  using Pass = ForwardPass<T>;
  const LstmExtras<T, Extras> extras;
  GatePanels<T> w, projection;
  T *c0;          // (B, Hp): the initial state, and every state after it if none are saved
  T *unprojected; // (B, Hp): o tanh(c~), the projection's input

  LstmForward(Pass &pass)
      : extras{pass.layer}, w(pass.scratch, pass.layer.w_hh, pass.layer.hidden, pass.layer.out, 0,
                              Gates, 1, pass.pack_weights),
        projection(pass.scratch, pass.layer.w_hr, extras.has_projection() ? pass.layer.out : 0,
                   pass.layer.hidden, 0, 1, kMaxVectors, pass.pack_weights) {
    c0 = pass.scratch.template zeros<T>(pass.layer.batch * pass.padded);
    for (long b = 0; b < pass.layer.batch; b++)
      memcpy(c0 + b * pass.padded, pass.layer.c0 + b * pass.layer.hidden,
             pass.layer.hidden * sizeof(T));
    unprojected = extras.has_projection()
                      ? pass.scratch.template take<T>(pass.layer.batch * pass.padded)
                      : nullptr;
  }

  void pack(ThreadSlice slice) override {
    w.pack(slice.begin(w.count()), slice.end(w.count()));
    projection.pack(slice.begin(projection.count()), slice.end(projection.count()));
  }

  T *cells(const Pass &pass, long t, long b) const { // c after step t
    return pass.out.cells ? pass.out.cells + (t * pass.layer.batch + b) * pass.padded
                          : c0 + b * pass.padded;
  }

  void step(const Pass &pass, Team &team, ThreadSlice slice, const ForwardStep<T> &s) override {
    const long H = pass.layer.hidden, Hp = pass.padded, B = pass.layer.batch, t = s.t;
    const bool saves = pass.out.gates;
    gemm_rows(
        w, slice.panel_begin(w.count()), slice.panel_end(w.count()), s.a, s.rows, w.depth,
        [&](long p, int, long r, T *tile) {
          const long j = p * V, b = s.row[r], at = t * B + b;
          const T *ux = s.u[r] + j;
          T *z = s.z[r] + j;
          const T *c_before =
              (pass.schedule.is_reset(t, b)   ? pass.zero_row
               : pass.schedule.is_first(t, b) ? c0 + b * Hp
                                              : cells(pass, pass.schedule.previous(t), b)) +
              j;
          const Vector<T> c_old = load(c_before);
          auto gate = [&](int k) { return load(ux + k * Hp) + load(tile + k * V); };
          const Vector<T> i = sigmoid<T>(extras.add_peephole(gate(0), 0, j, c_old)),
                          f = Gates == 3 ? T(1) - i
                                         : sigmoid<T>(extras.add_peephole(gate(1), 1, j, c_old)),
                          g = tanh<T>(gate(G));
          const Vector<T> raw = f * c_old + i * g, c = extras.clip(raw);
          const Vector<T> o = sigmoid<T>(extras.add_peephole(gate(O), Gates - 2, j, c));
          const int count = (int)min(V, H - j);
          Vector<T> after = c;
          if (extras.has_zoneout()) {
            const Vector<T> keep = keep_probability(pass.layer.c_zoneout, at * H + j, count);
            after = selected<T>(keep, c_old) + selected<T>(T(1) - keep, c);
          }
          store(cells(pass, t, b) + j, after);
          if (pass.out.cs) store(pass.out.cs + at * H + j, after, count);
          store(tile, o), store(tile + V, c);
          if (saves) {
            store(z, i), store(z + G * Hp, g), store(z + O * Hp, o);
            if (Gates == 4) store(z + Hp, f);
            if (Extras && pass.out.raw_cells) store(pass.out.raw_cells + at * Hp + j, raw);
          }
        },
        NoOp(),
        [&](long p, int, long r, const T *tile) {
          const long j = p * V, b = s.row[r];
          const Vector<T> o = load(tile), u = tanh<T>(load(tile + V));
          if (extras.has_projection()) store(unprojected + b * Hp + j, o * u);
          else pass.store_output(s, r, j, o * u);
          if (saves) store(pass.out.tanh_cells + (t * B + b) * Hp + j, u);
        });
    if (!extras.has_projection()) return;
    if (!slice.by_rows) team.barrier();
    for (long r = 0; r < s.rows; r++) s.scratch[r] = unprojected + s.row[r] * Hp;
    gemm_rows(projection, slice.panel_begin(projection.count()),
              slice.panel_end(projection.count()), s.scratch, s.rows, projection.depth,
              [&](long p, int width, long r, const T *tile) {
                for (long v = 0, j = p * kMaxVectors * V; v < width; v++, j += V)
                  pass.store_output(s, r, j, load(tile + v * V));
              });
  }

  void write_state(const Pass &pass) const override {
    for (long b = 0; b < pass.layer.batch; b++) {
      const bool ran = pass.schedule.length(b);
      memcpy(pass.out.c_n + b * pass.layer.hidden,
             ran ? cells(pass, pass.schedule.last_step(b), b) : c0 + b * pass.padded,
             pass.layer.hidden * sizeof(T));
    }
  }
};

template <class T, int Gates, bool Extras> struct LstmBackward final : BackwardCell<T> {
  static constexpr int V = lanes<T>, G = Gates - 2, O = Gates - 1;
  static constexpr BackwardLayout layout = {Gates, Gates, false, {0, 1, 2, 3}};
  using Pass = BackwardPass<T>;
  const LstmExtras<T, Extras> extras;
  RowPanels<T> w, projection;
  T *dc;
  const T *c0;
  T *peepholes; // (threads, Gates - 1, Hp): each thread's sums of their gradients

  LstmBackward(Pass &pass)
      : extras{pass.layer},
        w(pass.scratch, pass.recurrent_rows(), Gates * pass.padded, pass.layer.out),
        projection(pass.scratch, projection_rows(pass),
                   extras.has_projection() ? pass.layer.out : 0, pass.layer.hidden),
        dc(pass.padded_copy(pass.io.gc, pass.layer.hidden, pass.padded)),
        c0(pass.padded_copy(pass.layer.c0, pass.layer.hidden, pass.padded)),
        peepholes(extras.has_peepholes() ? pass.scratch.template zeros<T>(pass.layer.threads *
                                                                          (Gates - 1) * pass.padded)
                                         : nullptr) {}

  const T *const *projection_rows(Pass &pass) const {
    if (!extras.has_projection()) return nullptr;
    const T **rows = pass.scratch.template take<const T *>(pass.layer.out);
    for (long k = 0; k < pass.layer.out; k++) rows[k] = pass.layer.w_hr + k * pass.layer.hidden;
    return rows;
  }

  void pack(ThreadSlice slice) override {
    w.pack(slice.begin(w.count()), slice.end(w.count()));
    projection.pack(slice.begin(projection.count()), slice.end(projection.count()));
  }

  void step(const Pass &pass, Team &team, ThreadSlice slice, const BackwardStep<T> &s) override {
    gemm_rows(w, slice.panel_begin(w.count()), slice.panel_end(w.count()), s.dz, s.rows,
              s.needs_product ? w.depth : 0, [&](long p, int width, long r, const T *tile) {
                for (long v = 0, j = p * kMaxVectors * V; v < width; v++, j += V) {
                  Vector<T> dh;
                  if (!pass.accumulate_dh(s, r, j, tile + v * V, dh)) continue;
                  store(pass.dh + s.row[r] * pass.padded_out + j, Vector<T>{});
                  if (extras.has_projection()) store(s.to[r] + pass.width + j, dh);
                  else gate_gradients(pass, slice, s, r, j, dh);
                }
              });
    if (!extras.has_projection() || s.active == 0) return;
    if (!slice.by_rows) team.barrier();
    for (long r = 0; r < s.active; r++) s.scratch[r] = s.to[r] + pass.width;
    gemm_rows(projection, slice.panel_begin(projection.count()),
              slice.panel_end(projection.count()), s.scratch, s.active, projection.depth,
              [&](long p, int width, long r, const T *tile) {
                for (long v = 0, j = p * kMaxVectors * V; v < width; v++, j += V)
                  gate_gradients(pass, slice, s, r, j, load(tile + v * V));
              });
  }

  // Stores the gates' cotangents, given dh, that of o tanh(c~); updates dc.
  void gate_gradients(const Pass &pass, ThreadSlice slice, const BackwardStep<T> &s, long r, long j,
                      Vector<T> dh) const {
    const long H = pass.layer.hidden, Hp = pass.padded, B = pass.layer.batch, t = s.t, b = s.row[r],
               at = t * B + b;
    const auto &io = pass.io;
    const T *gate = io.gates + at * Gates * Hp + j;
    const Vector<T> i = load(gate), f = Gates == 3 ? T(1) - i : load(gate + Hp),
                    g = load(gate + G * Hp), o = load(gate + O * Hp);
    const Vector<T> u = load(io.tanh_cells + at * Hp + j);
    const bool is_reset = pass.schedule.is_reset(t, b);
    const T *c_before = is_reset ? pass.zero_row
                        : pass.schedule.is_first(t, b)
                            ? c0 + b * Hp
                            : io.cells + (pass.schedule.previous(t) * B + b) * Hp;
    const Vector<T> c_old = load(c_before + j), d_o = dh * u * o * (T(1) - o);
    const int count = (int)min(V, H - j);
    T *dc_ = this->dc + b * Hp + j, *d = s.to[r] + j;
    Vector<T> dc = load(dc_), carried = {};
    if (io.gcs) dc += load(io.gcs + at * H + j, count);
    if (extras.has_zoneout()) {
      const Vector<T> keep = keep_probability(pass.layer.c_zoneout, at * H + j, count);
      carried = selected<T>(keep, dc), dc = selected<T>(T(1) - keep, dc);
    }
    dc += dh * o * (T(1) - u * u);
    if (extras.has_peepholes()) dc += d_o * extras.peephole(Gates - 2, j);
    if (extras.has_clip()) dc = extras.clip_gradient(load(io.raw_cells + at * Hp + j), dc);
    const Vector<T> d_i = dc * (Gates == 3 ? g - c_old : g) * i * (T(1) - i),
                    d_f = dc * c_old * f * (T(1) - f);
    store(d, pass.zero_padding(d_i, j));
    if (Gates == 4) store(d + Hp, pass.zero_padding(d_f, j));
    store(d + G * Hp, pass.zero_padding(dc * i * (T(1) - g * g), j));
    store(d + O * Hp, pass.zero_padding(d_o, j));
    if (extras.has_projection()) store(d + pass.width + pass.padded_out, o * u);
    dc *= f;
    if (extras.has_peepholes()) {
      const Vector<T> c = extras.clip(load((io.raw_cells ? io.raw_cells : io.cells) + at * Hp + j));
      T *sum = peepholes + slice.id * (Gates - 1) * Hp + j;
      auto add = [&](int k, Vector<T> d, Vector<T> add_peephole) {
        store(sum + k * Hp, load(sum + k * Hp) + d * add_peephole);
      };
      dc += d_i * extras.peephole(0, j), add(0, d_i, c_old);
      if (Gates == 4) dc += d_f * extras.peephole(1, j), add(1, d_f, c_old);
      add(Gates - 2, d_o, c);
    }
    if (extras.has_zoneout()) dc += carried;
    store(dc_, is_reset ? Vector<T>{} : dc);
  }

  void write_gradients(const Pass &pass) const override {
    const long H = pass.layer.hidden, Hp = pass.padded;
    for (long b = 0; pass.io.dc0 && b < pass.layer.batch; b++)
      memcpy(pass.io.dc0 + b * H, dc + b * Hp, H * sizeof(T));
    for (long k = 0; pass.io.dw_ch && k < Gates - 1; k++)
      for (long j = 0; j < H; j++) {
        T sum = 0;
        for (long id = 0; id < pass.layer.threads; id++)
          sum += peepholes[(id * (Gates - 1) + k) * Hp + j];
        pass.io.dw_ch[k * H + j] = sum;
      }
  }
};

} // namespace tgrnn::LEVEL
