// The vanilla RNN: h' = tanh(z), or max(z, 0). The outputs are all that is saved, or under zoneout h~.
#pragma once

#include "backward.hpp"
#include "forward.hpp"
#include "math.hpp"

namespace tgrnn::LEVEL {

template <class T, bool Relu> struct RnnForward final : ForwardCell<T> {
  static constexpr int V = lanes<T>;
  static constexpr ForwardLayout layout = {1, 1, 1};
  using Pass = ForwardPass<T>;
  GatePanels<T> w;

  RnnForward(Pass &pass) : w(pass.scratch, pass.layer.w_hh, pass.layer.hidden, pass.layer.out, 0, 1, widest, pass.pack_weights) {}

  void pack(Share share) override { w.pack(share.some_from(w.count()), share.some_to(w.count())); }

  void step(const Pass &pass, Team &, Share share, const Step<T> &s) override {
    sweep(w, share.from(w.count()), share.to(w.count()), s.a, s.rows, w.depth,
          [&](long p, int width, long r, const T *tile) {
            for (long v = 0, j = p * widest * V; v < width; v++, j += V) {
              const Vector<T> z = load(s.u[r] + j) + load(tile + v * V), h = Relu ? (z < T(0) ? Vector<T>{} : z) : tanh<T>(z);
              pass.put(s, r, j, h);
            }
          });
  }
};

template <class T, bool Relu> struct RnnBackward final : BackwardCell<T> {
  static constexpr int V = lanes<T>;
  static constexpr BackwardLayout layout = {1, 1, false, {0}};
  using Pass = BackwardPass<T>;
  RowPanels<T> w;

  RnnBackward(Pass &pass) : w(pass.scratch, pass.recurrent_rows(), pass.padded, pass.layer.out) {}

  void pack(Share share) override { w.pack(share.some_from(w.count()), share.some_to(w.count())); }

  void step(const Pass &pass, Team &, Share share, const BackStep<T> &s) override {
    const long H = pass.layer.hidden, B = pass.layer.batch;
    sweep(w, share.from(w.count()), share.to(w.count()), s.dz, s.rows, s.received ? w.depth : 0,
          [&](long p, int width, long r, const T *tile) {
            const long b = s.row[r], at = s.t * B + b;
            for (long v = 0, j = p * widest * V; v < width; v++, j += V) {
              Vector<T> dh;
              if (!pass.receive(s, r, j, tile + v * V, dh)) continue;
              store(pass.dh + b * pass.padded + j, Vector<T>{});
              const Vector<T> h = pass.io.gates ? load(pass.io.gates + at * pass.padded + j)
                                                : load(pass.io.y + at * H + j, (int)smaller(V, H - j));
              store(s.to[r] + j, pass.units(Relu ? (h > T(0) ? dh : Vector<T>{}) : dh * (T(1) - h * h), j));
            }
          });
  }
};

} // namespace tgrnn::LEVEL
