// The vanilla RNN: h' = tanh(z), or max(z, 0). The outputs are all that is saved.
#pragma once

#include "backward.hpp"
#include "forward.hpp"
#include "math.hpp"

namespace tgrnn::LEVEL {

template <class T, bool Relu> struct RnnForward {
  static constexpr int V = lanes<T>, gates = 1, gates_with_both_biases = 1, planes = 1;
  using Pass = ForwardPass<T, RnnForward>;
  GatePanels<T> w;

  RnnForward(Pass &pass) : w(pass.scratch, pass.layer.w_hh, pass.layer.hidden, pass.layer.out, 0, 1, widest, pass.pack_weights) {}

  void pack(Share share) { w.pack(share.some_from(w.count()), share.some_to(w.count())); }

  void step(const Pass &pass, Team &, Share share, const Step<T> &s) {
    const long H = pass.layer.hidden, B = pass.layer.batch;
    sweep(w, share.from(w.count()), share.to(w.count()), s.a, s.rows, w.depth,
          [&](long p, int width, long r, const T *tile) {
            T *h = pass.out.y + (s.t * B + s.row[r]) * H;
            for (long v = 0, j = p * widest * V; v < width; v++, j += V) {
              const Vector<T> z = load(s.z[r] + j) + load(tile + v * V);
              store(h + j, Relu ? (z < T(0) ? Vector<T>{} : z) : tanh<T>(z), (int)smaller(V, H - j));
            }
          });
  }

  void last(const Pass &) const {}
};

template <class T, bool Relu> struct RnnBackward {
  static constexpr int V = lanes<T>, gates = 1, planes = 1;
  static constexpr bool resets_before = false;
  static constexpr int gate_of_plane[] = {0};
  using Pass = BackwardPass<T, RnnBackward>;
  RowPanels<T> w;

  RnnBackward(Pass &pass) : w(pass.scratch, pass.recurrent_rows(), pass.padded, pass.layer.out) {}

  void pack(Share share) { w.pack(share.some_from(w.count()), share.some_to(w.count())); }

  void step(const Pass &pass, Team &, Share share, const BackStep<T> &s) {
    const long H = pass.layer.hidden, B = pass.layer.batch;
    sweep(w, share.from(w.count()), share.to(w.count()), s.dz, s.rows, s.received ? w.depth : 0,
          [&](long p, int width, long r, const T *tile) {
            const long b = s.row[r], at = (s.t * B + b) * H;
            for (long v = 0, j = p * widest * V; v < width; v++, j += V) {
              T *kept = pass.dh + b * pass.padded_out + j;
              Vector<T> dh = pass.unmasked(tile + v * V, b, j) + load(kept);
              store(kept, r < s.running ? Vector<T>{} : dh);
              if (r >= s.running) continue;
              const int n = (int)smaller(V, H - j);
              if (pass.io.gy) dh += load(pass.io.gy + at + j, n);
              const Vector<T> h = load(pass.io.y + at + j, n);
              store(s.to[r] + j, Relu ? (h > T(0) ? dh : Vector<T>{}) : dh * (T(1) - h * h));
            }
          });
  }

  void last(const Pass &) const {}
};

} // namespace tgrnn::LEVEL
