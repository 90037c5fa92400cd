// The LSTM: c' = f c + i g, h' = o tanh(c'). Gates i, f, g, o; a panel holds a vector of units of each.
#pragma once

#include "backward.hpp"
#include "forward.hpp"
#include "math.hpp"

namespace tgrnn::LEVEL {

template <class T> struct LstmForward {
  static constexpr int V = lanes<T>, gates = 4, gates_with_both_biases = 4, planes = 4;
  using Pass = ForwardPass<T, LstmForward>;
  GatePanels<T> w;
  T *c0; // where no cells are kept, all states follow each other here

  LstmForward(Pass &pass) : w(pass.scratch, pass.layer.w_hh, pass.layer.hidden, pass.layer.out, 0, 4, 1, pass.pack_weights) {
    c0 = pass.scratch.template zeros<T>(pass.layer.batch * pass.padded);
    for (long b = 0; b < pass.layer.batch; b++)
      memcpy(c0 + b * pass.padded, pass.layer.c0 + b * pass.layer.hidden, pass.layer.hidden * sizeof(T));
  }

  void pack(Share share) { w.pack(share.some_from(w.count()), share.some_to(w.count())); }

  T *cells(const Pass &pass, long t, long b) const { // after step t
    return pass.out.cells ? pass.out.cells + (t * pass.layer.batch + b) * pass.padded : c0 + b * pass.padded;
  }

  void step(const Pass &pass, Team &, Share share, const Step<T> &s) {
    const long H = pass.layer.hidden, Hp = pass.padded, B = pass.layer.batch, t = s.t;
    const bool keep = pass.out.gates;
    sweep(w, share.from(w.count()), share.to(w.count()), s.a, s.rows, w.depth,
          [&](long p, int, long r, const T *tile) {
            const long j = p * V, b = s.row[r];
            T *z = s.z[r] + j;
            const T *c_before = (pass.course.anew(t, b)    ? pass.nothing
                                 : pass.course.first(t, b) ? c0 + b * Hp
                                                           : cells(pass, pass.course.before(t), b)) +
                                j;
            const Vector<T> i = sigmoid<T>(load(z) + load(tile)), f = sigmoid<T>(load(z + Hp) + load(tile + V)),
                            g = tanh<T>(load(z + 2 * Hp) + load(tile + 2 * V)),
                            o = sigmoid<T>(load(z + 3 * Hp) + load(tile + 3 * V));
            const Vector<T> c = f * load(c_before) + i * g, u = tanh<T>(c);
            store(cells(pass, t, b) + j, c);
            if (pass.out.cs) store(pass.out.cs + (t * B + b) * H + j, c, (int)smaller(V, H - j));
            store(pass.out.y + (t * B + b) * H + j, o * u, (int)smaller(V, H - j));
            if (keep) {
              store(z, i), store(z + Hp, f), store(z + 2 * Hp, g), store(z + 3 * Hp, o);
              store(pass.out.tanh_cells + (t * B + b) * Hp + j, u);
            }
          });
  }

  void last(const Pass &pass) const {
    for (long b = 0; b < pass.layer.batch; b++) {
      const bool ran = pass.course.length(b);
      memcpy(pass.out.c_n + b * pass.layer.hidden, ran ? cells(pass, pass.course.last(b), b) : c0 + b * pass.padded,
             pass.layer.hidden * sizeof(T));
    }
  }
};

template <class T> struct LstmBackward {
  static constexpr int V = lanes<T>, gates = 4, planes = 4;
  static constexpr bool resets_before = false;
  static constexpr int gate_of_plane[] = {0, 1, 2, 3};
  using Pass = BackwardPass<T, LstmBackward>;
  RowPanels<T> w;
  T *dc;
  const T *c0;

  LstmBackward(Pass &pass)
      : w(pass.scratch, pass.recurrent_rows(), 4 * pass.padded, pass.layer.out),
        dc(pass.padded_copy(pass.io.gc, pass.layer.hidden, pass.padded)),
        c0(pass.padded_copy(pass.layer.c0, pass.layer.hidden, pass.padded)) {}

  void pack(Share share) { w.pack(share.some_from(w.count()), share.some_to(w.count())); }

  void step(const Pass &pass, Team &, Share share, const BackStep<T> &s) {
    const long H = pass.layer.hidden, Hp = pass.padded, B = pass.layer.batch, t = s.t;
    const auto &io = pass.io;
    sweep(w, share.from(w.count()), share.to(w.count()), s.dz, s.rows, s.received ? w.depth : 0,
          [&](long p, int width, long r, const T *tile) {
            const long b = s.row[r], at = t * B + b;
            for (long v = 0, j = p * widest * V; v < width; v++, j += V) {
              T *dh_ = pass.dh + b * Hp + j, *dc_ = dc + b * Hp + j;
              Vector<T> dh = pass.unmasked(tile + v * V, b, j) + load(dh_);
              if (r >= s.running) {
                store(dh_, dh);
                continue;
              }
              store(dh_, Vector<T>{});
              if (io.gy) dh += load(io.gy + at * H + j, (int)smaller(V, H - j));
              const T *gate = io.gates + at * 4 * Hp + j;
              const Vector<T> i = load(gate), f = load(gate + Hp), g = load(gate + 2 * Hp), o = load(gate + 3 * Hp);
              const Vector<T> u = load(io.tanh_cells + at * Hp + j);
              const bool anew = pass.course.anew(t, b);
              const T *c_before = anew ? pass.nothing : pass.course.first(t, b) ? c0 + b * Hp : io.cells + (pass.course.before(t) * B + b) * Hp;
              Vector<T> dc = load(dc_) + dh * o * (T(1) - u * u);
              if (io.gcs) dc += load(io.gcs + at * H + j, (int)smaller(V, H - j));
              T *d = s.to[r] + j;
              store(d, dc * g * i * (T(1) - i));
              store(d + Hp, dc * load(c_before + j) * f * (T(1) - f));
              store(d + 2 * Hp, dc * i * (T(1) - g * g));
              store(d + 3 * Hp, dh * u * o * (T(1) - o));
              store(dc_, anew ? Vector<T>{} : dc * f);
            }
          });
  }

  void last(const Pass &pass) const {
    for (long b = 0; pass.io.dc0 && b < pass.layer.batch; b++)
      memcpy(pass.io.dc0 + b * pass.layer.hidden, dc + b * pass.padded, pass.layer.hidden * sizeof(T));
  }
};

} // namespace tgrnn::LEVEL
