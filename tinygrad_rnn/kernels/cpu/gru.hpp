// The GRU, h' = z h + (1 - z) n with gates r, z, n, in both forms: the reset gate before the
// recurrent product (Cho et al. 2014) or after it (cuDNN, PyTorch). Cells for `run_forward` and
// `run_backward`.
//
// Saves four planes: r, z, n, and r * h or W_n h + b_n.
#pragma once

#include "backward.hpp"
#include "forward.hpp"
#include "math.hpp"

namespace tgrnn::LEVEL {

// ---------------------------------------------------------------- n = tanh(U x + b + r * (W h +
// b_n))

template <class T> struct GruAfterForward final : ForwardCell<T> {
  static constexpr int V = lanes<T>;
  static constexpr ForwardLayout layout = {3, 2, 4};
  using Pass = ForwardPass<T>;
  GatePanels<T> w;
  T *bias;

  GruAfterForward(Pass &pass)
      : w(pass.scratch, pass.layer.w_hh, pass.layer.hidden, pass.layer.out, 0, 3, 1,
          pass.pack_weights),
        bias(pass.scratch.template zeros<T>(pass.padded)) {
    const long H = pass.layer.hidden;
    if (pass.layer.b_hh) memcpy(bias, pass.layer.b_hh + 2 * H, H * sizeof(T));
  }

  void pack(ThreadSlice slice) override { w.pack(slice.begin(w.count()), slice.end(w.count())); }

  void step(const Pass &pass, Team &, ThreadSlice slice, const ForwardStep<T> &s) override {
    const long H = pass.layer.hidden, Hp = pass.padded;
    gemm_rows(
        w, slice.panel_begin(w.count()), slice.panel_end(w.count()), s.a, s.rows, w.depth,
        [&](long p, int, long row, T *tile) {
          const long j = p * V;
          const T *ux = s.u[row] + j;
          const Vector<T> r = sigmoid<T>(load(ux) + load(tile)),
                          z = sigmoid<T>(load(ux + Hp) + load(tile + V)),
                          inner = load(tile + 2 * V) + load(bias + j);
          store(tile, load(ux + 2 * Hp) + r * inner), store(tile + V, z);
          if (T *gate = s.z[row] + j; pass.out.gates)
            store(gate, r), store(gate + Hp, z), store(gate + 3 * Hp, inner);
        },
        NoOp(),
        [&](long p, int, long row, const T *tile) {
          const long j = p * V;
          const Vector<T> n = tanh<T>(load(tile)), z = load(tile + V);
          pass.store_output(s, row, j, n + z * (load(s.h[row] + j, (int)min(V, H - j)) - n));
          if (pass.out.gates) store(s.z[row] + j + 2 * Hp, n);
        });
  }
};

template <class T> struct GruAfterBackward final : BackwardCell<T> {
  static constexpr int V = lanes<T>;
  static constexpr BackwardLayout layout = {
      3, 4, false, {2, 0, 1, 2}}; // dn of the input projection, dr, dz, dn of the recurrent product
  using Pass = BackwardPass<T>;
  RowPanels<T> w;

  GruAfterBackward(Pass &pass)
      : w(pass.scratch, pass.recurrent_rows(), 3 * pass.padded, pass.layer.out) {}

  void pack(ThreadSlice slice) override { w.pack(slice.begin(w.count()), slice.end(w.count())); }

  void step(const Pass &pass, Team &, ThreadSlice slice, const BackwardStep<T> &s) override {
    const long H = pass.layer.hidden, Hp = pass.padded, B = pass.layer.batch;
    for (long r = 0; r < s.rows; r++) s.scratch[r] = s.dz[r] + Hp;
    gemm_rows(w, slice.panel_begin(w.count()), slice.panel_end(w.count()), s.scratch, s.rows,
              s.needs_product ? w.depth : 0, [&](long p, int width, long row, const T *tile) {
                const long b = s.row[row], at = s.t * B + b;
                for (long v = 0, j = p * kMaxVectors * V; v < width; v++, j += V) {
                  Vector<T> dh;
                  if (!pass.accumulate_dh(s, row, j, tile + v * V, dh)) continue;
                  const Vector<T> h = load(pass.h_before(s.t, b) + j, (int)min(V, H - j));
                  const T *gate = pass.io.gates + at * 4 * Hp + j;
                  const Vector<T> r = load(gate), z = load(gate + Hp), n = load(gate + 2 * Hp),
                                  inner = load(gate + 3 * Hp);
                  const Vector<T> dn = dh * (T(1) - z) * (T(1) - n * n);
                  T *d = s.to[row] + j;
                  store(d, pass.zero_padding(dn, j));
                  store(d + Hp, pass.zero_padding(dn * inner * r * (T(1) - r), j));
                  store(d + 2 * Hp, pass.zero_padding(dh * (h - n) * z * (T(1) - z), j));
                  store(d + 3 * Hp, pass.zero_padding(dn * r, j));
                  store(pass.dh + b * Hp + j, dh * z);
                }
              });
  }
};

// ---------------------------------------------------------------- n = tanh(U x + W (r * h) + b)

template <class T> struct GruForward final : ForwardCell<T> {
  static constexpr int V = lanes<T>;
  static constexpr ForwardLayout layout = {3, 0, 4};
  using Pass = ForwardPass<T>;
  GatePanels<T> w, w_n;

  GruForward(Pass &pass)
      : w(pass.scratch, pass.layer.w_hh, pass.layer.hidden, pass.layer.out, 0, 2, 2,
          pass.pack_weights),
        w_n(pass.scratch, pass.layer.w_hh, pass.layer.hidden, pass.layer.out, 2, 1, kMaxVectors,
            pass.pack_weights) {}

  void pack(ThreadSlice slice) override {
    w.pack(slice.begin(w.count()), slice.end(w.count()));
    w_n.pack(slice.begin(w_n.count()), slice.end(w_n.count()));
  }

  void step(const Pass &pass, Team &team, ThreadSlice slice, const ForwardStep<T> &s) override {
    const long H = pass.layer.hidden, Hp = pass.padded;
    gemm_rows(w, slice.panel_begin(w.count()), slice.panel_end(w.count()), s.a, s.rows, w.depth,
              [&](long p, int width, long row, const T *tile) {
                const int units =
                    width / 2; // vectors of units: the panel holds r of all of them, then z
                for (long v = 0, j = p * 2 * V; v < units; v++, j += V) {
                  const T *ux = s.u[row] + j;
                  T *gate = s.z[row] + j;
                  const Vector<T> r = sigmoid<T>(load(ux) + load(tile + v * V));
                  store(gate, r);
                  store(gate + Hp, sigmoid<T>(load(ux + Hp) + load(tile + (units + v) * V)));
                  store(gate + 3 * Hp, r * load(s.a[row] + j, (int)min(V, H - j)));
                }
              });
    if (!slice.by_rows) team.barrier();
    for (long r = 0; r < s.rows; r++) s.scratch[r] = s.z[r] + 3 * Hp;
    gemm_rows(w_n, slice.panel_begin(w_n.count()), slice.panel_end(w_n.count()), s.scratch, s.rows,
              w_n.depth, [&](long p, int width, long row, const T *tile) {
                for (long v = 0, j = p * kMaxVectors * V; v < width; v++, j += V) {
                  T *gate = s.z[row] + j;
                  const Vector<T> n = tanh<T>(load(s.u[row] + j + 2 * Hp) + load(tile + v * V));
                  store(gate + 2 * Hp, n);
                  pass.store_output(s, row, j,
                                    n + load(gate + Hp) *
                                            (load(s.h[row] + j, (int)min(V, H - j)) - n));
                }
              });
  }
};

template <class T> struct GruBackward final : BackwardCell<T> {
  static constexpr int V = lanes<T>;
  static constexpr BackwardLayout layout = {3, 3, true, {0, 1, 2}};
  using Pass = BackwardPass<T>;
  RowPanels<T> w, w_n;

  GruBackward(Pass &pass)
      : w(pass.scratch, pass.recurrent_rows(), 2 * pass.padded, pass.layer.out),
        w_n(pass.scratch, pass.recurrent_rows() + 2 * pass.padded, pass.padded, pass.layer.out) {}

  void pack(ThreadSlice slice) override {
    w.pack(slice.begin(w.count()), slice.end(w.count()));
    w_n.pack(slice.begin(w_n.count()), slice.end(w_n.count()));
  }

  void step(const Pass &pass, Team &team, ThreadSlice slice, const BackwardStep<T> &s) override {
    const long H = pass.layer.hidden, Hp = pass.padded, B = pass.layer.batch;
    gemm_rows(w, slice.panel_begin(w.count()), slice.panel_end(w.count()), s.dz, s.rows,
              s.needs_product ? w.depth : 0, [&](long p, int width, long row, const T *tile) {
                const long b = s.row[row], at = s.t * B + b;
                for (long v = 0, j = p * kMaxVectors * V; v < width; v++, j += V) {
                  Vector<T> dh;
                  if (!pass.accumulate_dh(s, row, j, tile + v * V, dh)) continue;
                  const Vector<T> h = load(pass.h_before(s.t, b) + j, (int)min(V, H - j));
                  const T *gate = pass.io.gates + at * 4 * Hp + j;
                  const Vector<T> z = load(gate + Hp), n = load(gate + 2 * Hp);
                  T *d = s.to[row] + j;
                  store(d + Hp, pass.zero_padding(dh * (h - n) * z * (T(1) - z), j));
                  store(d + 2 * Hp, pass.zero_padding(dh * (T(1) - z) * (T(1) - n * n), j));
                  store(pass.dh + b * Hp + j, dh * z);
                }
              });
    if (!slice.by_rows) team.barrier();
    for (long r = 0; r < s.active; r++) s.scratch[r] = s.to[r] + 2 * Hp;
    gemm_rows(w_n, slice.panel_begin(w_n.count()), slice.panel_end(w_n.count()), s.scratch,
              s.active, w_n.depth,
              [&](long p, int width, long row, const T *tile) { // tile: the cotangent of r * h
                const long b = s.row[row], at = s.t * B + b;
                for (long v = 0, j = p * kMaxVectors * V; v < width; v++, j += V) {
                  T *dh = pass.dh + b * Hp + j;
                  const Vector<T> r = load(pass.io.gates + at * 4 * Hp + j),
                                  h = load(pass.h_before(s.t, b) + j, (int)min(V, H - j)),
                                  d = load(tile + v * V), dr = pass.apply_mask(d * h, b, j);
                  store(s.to[row] + j, pass.zero_padding(dr * r * (T(1) - r), j));
                  store(dh, load(dh) + pass.apply_mask(d * r, b, j));
                }
              });
  }
};

} // namespace tgrnn::LEVEL
