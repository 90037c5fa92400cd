// The vanilla RNN, h' = tanh(z) or max(z, 0): cells for `run_forward` and `run_backward`.
//
// Saves nothing but y; under zoneout one plane, h~.
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

  RnnForward(Pass &pass)
      : w(pass.scratch, pass.layer.w_hh, pass.layer.hidden, pass.layer.out, 0, 1, kMaxVectors,
          pass.pack_weights) {}

  void pack(ThreadSlice slice) override { w.pack(slice.begin(w.count()), slice.end(w.count())); }

  void step(const Pass &pass, Team &, ThreadSlice slice, const ForwardStep<T> &s) override {
    gemm_rows(w, slice.panel_begin(w.count()), slice.panel_end(w.count()), s.a, s.rows, w.depth,
              [&](long p, int width, long r, const T *tile) {
                for (long v = 0, j = p * kMaxVectors * V; v < width; v++, j += V) {
                  const Vector<T> z = load(s.u[r] + j) + load(tile + v * V),
                                  h = Relu ? (z < T(0) ? Vector<T>{} : z) : tanh<T>(z);
                  pass.store_output(s, r, j, h);
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

  void pack(ThreadSlice slice) override { w.pack(slice.begin(w.count()), slice.end(w.count())); }

  void step(const Pass &pass, Team &, ThreadSlice slice, const BackwardStep<T> &s) override {
    const long H = pass.layer.hidden, B = pass.layer.batch;
    gemm_rows(
        w, slice.panel_begin(w.count()), slice.panel_end(w.count()), s.dz, s.rows,
        s.needs_product ? w.depth : 0, [&](long p, int width, long r, const T *tile) {
          const long b = s.row[r], at = s.t * B + b;
          for (long v = 0, j = p * kMaxVectors * V; v < width; v++, j += V) {
            Vector<T> dh;
            if (!pass.accumulate_dh(s, r, j, tile + v * V, dh)) continue;
            store(pass.dh + b * pass.padded + j, Vector<T>{});
            const Vector<T> h = pass.io.gates ? load(pass.io.gates + at * pass.padded + j)
                                              : load(pass.io.y + at * H + j, (int)min(V, H - j));
            store(s.to[r] + j,
                  pass.zero_padding(Relu ? (h > T(0) ? dh : Vector<T>{}) : dh * (T(1) - h * h), j));
          }
        });
  }
};

} // namespace tgrnn::LEVEL
