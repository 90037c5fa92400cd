// The GRU in both forms: h' = z h + (1 - z) n. Gates r, z, n.
//
// A fourth plane of what is saved holds what n's product with the weights is about: r * h before
// it, or W_n h + b_n after it.
#pragma once

#include "backward.hpp"
#include "forward.hpp"
#include "math.hpp"

namespace tgrnn::LEVEL {

// ---------------------------------------------------------------- n = tanh(U x + b + r * (W h + b_n))

template <class T> struct GruAfterForward final : ForwardCell<T> {
  static constexpr int V = lanes<T>;
  static constexpr ForwardLayout layout = {3, 2, 4};
  using Pass = ForwardPass<T>;
  GatePanels<T> w;
  T *bias;

  GruAfterForward(Pass &pass)
      : w(pass.scratch, pass.layer.w_hh, pass.layer.hidden, pass.layer.out, 0, 3, 1, pass.pack_weights),
        bias(pass.scratch.template zeros<T>(pass.padded)) {
    const long H = pass.layer.hidden;
    if (pass.layer.b_hh) memcpy(bias, pass.layer.b_hh + 2 * H, H * sizeof(T));
  }

  void pack(Share share) override { w.pack(share.some_from(w.count()), share.some_to(w.count())); }

  void step(const Pass &pass, Team &, Share share, const Step<T> &s) override {
    const long H = pass.layer.hidden, Hp = pass.padded;
    sweep(w, share.from(w.count()), share.to(w.count()), s.a, s.rows, w.depth,
          [&](long p, int, long row, T *tile) {
            const long j = p * V;
            const T *ux = s.u[row] + j;
            const Vector<T> r = sigmoid<T>(load(ux) + load(tile)), z = sigmoid<T>(load(ux + Hp) + load(tile + V)),
                            inner = load(tile + 2 * V) + load(bias + j);
            store(tile, load(ux + 2 * Hp) + r * inner), store(tile + V, z);
            if (T *gate = s.z[row] + j; pass.out.gates) store(gate, r), store(gate + Hp, z), store(gate + 3 * Hp, inner);
          },
          Nothing(),
          [&](long p, int, long row, const T *tile) {
            const long j = p * V;
            const Vector<T> n = tanh<T>(load(tile)), z = load(tile + V);
            pass.put(s, row, j, n + z * (load(s.h[row] + j, (int)smaller(V, H - j)) - n));
            if (pass.out.gates) store(s.z[row] + j + 2 * Hp, n);
          });
  }
};

template <class T> struct GruAfterBackward final : BackwardCell<T> {
  static constexpr int V = lanes<T>;
  static constexpr BackwardLayout layout = {3, 4, false, {2, 0, 1, 2}}; // n as the input has it, r, z, n as W h has it
  using Pass = BackwardPass<T>;
  RowPanels<T> w;

  GruAfterBackward(Pass &pass)
      : w(pass.scratch, pass.recurrent_rows(), 3 * pass.padded, pass.layer.out) {}

  void pack(Share share) override { w.pack(share.some_from(w.count()), share.some_to(w.count())); }

  void step(const Pass &pass, Team &, Share share, const BackStep<T> &s) override {
    const long H = pass.layer.hidden, Hp = pass.padded, B = pass.layer.batch;
    for (long r = 0; r < s.rows; r++) s.spare[r] = s.dz[r] + Hp;
    sweep(w, share.from(w.count()), share.to(w.count()), s.spare, s.rows, s.received ? w.depth : 0,
          [&](long p, int width, long row, const T *tile) {
            const long b = s.row[row], at = s.t * B + b;
            for (long v = 0, j = p * widest * V; v < width; v++, j += V) {
              Vector<T> dh;
              if (!pass.receive(s, row, j, tile + v * V, dh)) continue;
              const Vector<T> h = load(pass.h_before(s.t, b) + j, (int)smaller(V, H - j));
              const T *gate = pass.io.gates + at * 4 * Hp + j;
              const Vector<T> r = load(gate), z = load(gate + Hp), n = load(gate + 2 * Hp), inner = load(gate + 3 * Hp);
              const Vector<T> dn = dh * (T(1) - z) * (T(1) - n * n);
              T *d = s.to[row] + j;
              store(d, pass.units(dn, j));
              store(d + Hp, pass.units(dn * inner * r * (T(1) - r), j));
              store(d + 2 * Hp, pass.units(dh * (h - n) * z * (T(1) - z), j));
              store(d + 3 * Hp, pass.units(dn * r, j));
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
      : w(pass.scratch, pass.layer.w_hh, pass.layer.hidden, pass.layer.out, 0, 2, 2, pass.pack_weights),
        w_n(pass.scratch, pass.layer.w_hh, pass.layer.hidden, pass.layer.out, 2, 1, widest, pass.pack_weights) {}

  void pack(Share share) override {
    w.pack(share.some_from(w.count()), share.some_to(w.count()));
    w_n.pack(share.some_from(w_n.count()), share.some_to(w_n.count()));
  }

  void step(const Pass &pass, Team &team, Share share, const Step<T> &s) override {
    const long H = pass.layer.hidden, Hp = pass.padded;
    sweep(w, share.from(w.count()), share.to(w.count()), s.a, s.rows, w.depth,
          [&](long p, int width, long row, const T *tile) {
            const int units = width / 2; // the panel: r of each vector of units, then z of each
            for (long v = 0, j = p * 2 * V; v < units; v++, j += V) {
              const T *ux = s.u[row] + j;
              T *gate = s.z[row] + j;
              const Vector<T> r = sigmoid<T>(load(ux) + load(tile + v * V));
              store(gate, r);
              store(gate + Hp, sigmoid<T>(load(ux + Hp) + load(tile + (units + v) * V)));
              store(gate + 3 * Hp, r * load(s.a[row] + j, (int)smaller(V, H - j)));
            }
          });
    if (!share.by_rows) team.barrier();
    for (long r = 0; r < s.rows; r++) s.spare[r] = s.z[r] + 3 * Hp;
    sweep(w_n, share.from(w_n.count()), share.to(w_n.count()), s.spare, s.rows, w_n.depth,
          [&](long p, int width, long row, const T *tile) {
            for (long v = 0, j = p * widest * V; v < width; v++, j += V) {
              T *gate = s.z[row] + j;
              const Vector<T> n = tanh<T>(load(s.u[row] + j + 2 * Hp) + load(tile + v * V));
              store(gate + 2 * Hp, n);
              pass.put(s, row, j, n + load(gate + Hp) * (load(s.h[row] + j, (int)smaller(V, H - j)) - n));
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

  void pack(Share share) override {
    w.pack(share.some_from(w.count()), share.some_to(w.count()));
    w_n.pack(share.some_from(w_n.count()), share.some_to(w_n.count()));
  }

  void step(const Pass &pass, Team &team, Share share, const BackStep<T> &s) override {
    const long H = pass.layer.hidden, Hp = pass.padded, B = pass.layer.batch;
    sweep(w, share.from(w.count()), share.to(w.count()), s.dz, s.rows, s.received ? w.depth : 0,
          [&](long p, int width, long row, const T *tile) {
            const long b = s.row[row], at = s.t * B + b;
            for (long v = 0, j = p * widest * V; v < width; v++, j += V) {
              Vector<T> dh;
              if (!pass.receive(s, row, j, tile + v * V, dh)) continue;
              const Vector<T> h = load(pass.h_before(s.t, b) + j, (int)smaller(V, H - j));
              const T *gate = pass.io.gates + at * 4 * Hp + j;
              const Vector<T> z = load(gate + Hp), n = load(gate + 2 * Hp);
              T *d = s.to[row] + j;
              store(d + Hp, pass.units(dh * (h - n) * z * (T(1) - z), j));
              store(d + 2 * Hp, pass.units(dh * (T(1) - z) * (T(1) - n * n), j));
              store(pass.dh + b * Hp + j, dh * z);
            }
          });
    if (!share.by_rows) team.barrier();
    for (long r = 0; r < s.running; r++) s.spare[r] = s.to[r] + 2 * Hp;
    sweep(w_n, share.from(w_n.count()), share.to(w_n.count()), s.spare, s.running, w_n.depth,
          [&](long p, int width, long row, const T *tile) { // the cotangent of r * h
            const long b = s.row[row], at = s.t * B + b;
            for (long v = 0, j = p * widest * V; v < width; v++, j += V) {
              T *kept = pass.dh + b * Hp + j;
              const Vector<T> r = load(pass.io.gates + at * 4 * Hp + j), d = pass.unmasked(tile + v * V, b, j);
              const Vector<T> h = load(pass.h_before(s.t, b) + j, (int)smaller(V, H - j));
              store(s.to[row] + j, pass.units(d * h * r * (T(1) - r), j)); // d * h: the mask is on either
              store(kept, load(kept) + d * r);
            }
          });
  }
};

} // namespace tgrnn::LEVEL
