// The steps of recurrent layers: one kernel beside one product (recurrent.py, which launches both). Before this
// source stand: typedef ... Real; struct Sequence, of arrays and sizes; and the names are those of the contract.
// What a kernel does for one element is a function _at: persistent.cu has a loop of its own around some of them.
//
// Steps are counted by n in running order; t is their place in time. Arrays of states have T + 1 places, one
// before each step and one after the last. A null pointer stands for an option or an output that is not there.
// What a mask, a length, a reset or zoneout drops is selected away, never multiplied by zero: it may be infinite.

#define SIGMOID(a) (Real(0.5) * tanh(Real(0.5) * (a)) + Real(0.5))

// The element of this thread among B rows of so many columns.
#define ELEMENT(COLUMNS)                                            \
  const int e = blockIdx.x * blockDim.x + threadIdx.x;              \
  if (e >= s.B * (COLUMNS)) return;                                 \
  const int b = e / (COLUMNS), u = e % (COLUMNS)

__device__ int time_of(const Sequence& s, int n) { return s.reverse ? s.T - 1 - n : n; }
__device__ size_t row_of(const Sequence& s, int n, int b) { return (size_t)time_of(s, n) * s.B + b; }

// The row of the state before step n; after it: before step n + 1.
__device__ size_t state_of(const Sequence& s, int n, int b) {
  return (size_t)(s.reverse ? s.T - n : n) * s.B + b;
}

__device__ bool rests(const Sequence& s, size_t row) { return s.over && s.over[row]; }
__device__ bool begins(const Sequence& s, int n, int b) {
  return s.begins && n < s.T && s.begins[row_of(s, n, b)];
}

__device__ Real times(Real factor, Real x) { return factor == 0 ? Real(0) : factor * x; }
__device__ Real masked(const Sequence& s, int e, Real x) { return s.mask ? times(s.mask[e], x) : x; }

// ---------------------------------------------------------------- h and c, forwards

__device__ Real old_h(const Sequence& s, int n, int b, int u) {
  return begins(s, n, b) ? Real(0) : s.hs[state_of(s, n, b) * s.P + u];
}
__device__ Real old_c(const Sequence& s, int n, int b, int u) {
  return begins(s, n, b) ? Real(0) : s.cs[state_of(s, n, b) * s.H + u];
}

// The input of the recurrent product of step n, if it is not h itself.
__device__ void write_m(const Sequence& s, int n, int b, int u, Real h) {
  if (s.ms && n < s.T)
    s.ms[row_of(s, n, b) * s.P + u] = begins(s, n, b) ? Real(0) : masked(s, b * s.P + u, h);
}

// The state after a step, of that before it and of what the step computed.
__device__ Real mixed(bool rest, const Real* zone, size_t at, Real before, Real computed) {
  if (rest) return before;
  if (!zone) return computed;
  const Real keep = zone[at];
  return times(keep, before) + times(1 - keep, computed);
}

__device__ void carry_h(const Sequence& s, int n, int b, int u, Real computed) {
  const size_t row = row_of(s, n, b), at = row * s.P + u;
  const bool rest = rests(s, row);
  const Real h = mixed(rest, s.h_zone, s.h_wide ? at : 0, old_h(s, n, b, u), computed);
  s.hs[state_of(s, n + 1, b) * s.P + u] = h;
  if (s.y) s.y[at] = rest ? Real(0) : h;
  if (n + 1 == s.T) s.h_last[b * s.P + u] = h;
  write_m(s, n + 1, b, u, h);
}

__device__ void carry_c(const Sequence& s, int n, int b, int u, Real computed) {
  const size_t row = row_of(s, n, b), at = row * s.H + u;
  const bool rest = rests(s, row);
  const Real c = mixed(rest, s.c_zone, s.c_wide ? at : 0, old_c(s, n, b, u), computed);
  s.cs[state_of(s, n + 1, b) * s.H + u] = c;
  if (s.c_computed) s.c_computed[at] = computed;
  if (s.c_every) s.c_every[at] = rest ? Real(0) : c;
  if (n + 1 == s.T) s.c_last[b * s.H + u] = c;
}

// Before the first step.
extern "C" __global__ void start(const Sequence s) {
  ELEMENT(s.P > s.H ? s.P : s.H);
  if (u < s.P) {
    const Real h = s.h0[b * s.P + u];
    s.hs[state_of(s, 0, b) * s.P + u] = h;
    write_m(s, 0, b, u, h);
  }
  if (s.cs && u < s.H) s.cs[state_of(s, 0, b) * s.H + u] = s.c0[b * s.H + u];
}

// What a projection gave becomes h.
extern "C" __global__ void carry(const Sequence s, const int n) {
  ELEMENT(s.P);
  carry_h(s, n, b, u, s.projected[e]);
}

// ---------------------------------------------------------------- h and c, backwards

// Splits the cotangent of the state after a step: returns that of what the step computed; *bypass takes the rest.
__device__ Real split(bool rest, const Real* zone, size_t at, Real d, Real* bypass) {
  const Real keep = rest ? Real(1) : zone ? zone[at] : Real(0);
  *bypass = times(keep, d);
  return times(1 - keep, d);
}

// The cotangent of the state before step n, of the parts that step n left; of the last state, if n is T.
__device__ Real cotangent_h(const Sequence& s, int n, int e, int b) {
  if (n == s.T) return s.gh ? s.gh[e] : Real(0);
  if (begins(s, n, b)) return 0;
  return rests(s, row_of(s, n, b)) ? s.dh[e] : s.dh[e] + masked(s, e, s.dm[e]);
}
__device__ Real cotangent_c(const Sequence& s, int n, int e, int b) {
  if (n == s.T) return s.gc ? s.gc[e] : Real(0);
  return begins(s, n, b) ? Real(0) : s.dc[e];
}

// The cotangent of the h, and of the c, that step n computes; dh and dc keep what bypasses the step.
__device__ Real arriving_h(const Sequence& s, int n, int b, int u) {
  const int e = b * s.P + u;
  const size_t row = row_of(s, n, b), at = row * s.P + u;
  const bool rest = rests(s, row);
  Real d = cotangent_h(s, n + 1, e, b);
  if (s.gy && !rest) d += s.gy[at];
  return split(rest, s.h_zone, s.h_wide ? at : 0, d, &s.dh[e]);
}
__device__ Real arriving_c(const Sequence& s, int n, int b, int u) {
  const int e = b * s.H + u;
  const size_t row = row_of(s, n, b), at = row * s.H + u;
  const bool rest = rests(s, row);
  Real d = cotangent_c(s, n + 1, e, b);
  if (s.gcs && !rest) d += s.gcs[at];
  return split(rest, s.c_zone, s.c_wide ? at : 0, d, &s.dc[e]);
}

// After the last step, which is the first in running order: dh and dc become the cotangents of h0 and c0.
extern "C" __global__ void finish(const Sequence s) {
  ELEMENT(s.P > s.H ? s.P : s.H);
  if (u < s.P) s.dh[b * s.P + u] = cotangent_h(s, 0, b * s.P + u, b);
  if (s.dc && u < s.H) s.dc[b * s.H + u] = cotangent_c(s, 0, b * s.H + u, b);
}

// The cotangent of what a projection gave.
extern "C" __global__ void carry_back(const Sequence s, const int n) {
  ELEMENT(s.P);
  s.d_projected[row_of(s, n, b) * s.P + u] = arriving_h(s, n, b, u);
}

// ---------------------------------------------------------------- RNN. gates: U x + b + W m, then h~

__device__ void rnn_at(const Sequence& s, const int n, const int b, const int u) {
  Real& z = s.gates[row_of(s, n, b) * s.H + u];
  z = s.relu ? (z > 0 || z != z ? z : Real(0)) : tanh(z);
  carry_h(s, n, b, u, z);
}
extern "C" __global__ void rnn(const Sequence s, const int n) {
  ELEMENT(s.H);
  rnn_at(s, n, b, u);
}

__device__ void rnn_back_at(const Sequence& s, const int n, const int b, const int u) {
  const size_t row = row_of(s, n, b);
  const Real d = arriving_h(s, n, b, u), h = s.gates[row * s.H + u];
  const Real slope = s.relu ? h > 0 ? d : Real(0) : (1 - h * h) * d;
  s.dz[row * s.H + u] = rests(s, row) ? Real(0) : slope;
}
extern "C" __global__ void rnn_back(const Sequence s, const int n) {
  ELEMENT(s.H);
  rnn_back_at(s, n, b, u);
}

// ---------------------------------------------------------------- GRU. gates: U x + b, then r, z, n

__device__ void gru_n(const Sequence& s, int n, int b, int u, Real* gate, Real z, Real share) {
  const Real new_h = gate[2 * s.H] = tanh(gate[2 * s.H] + share);
  carry_h(s, n, b, u, z * (old_h(s, n, b, u) - new_h) + new_h);
}

// part: W m of all gates. aside: W_n m and its bias.
__device__ void gru_after_at(const Sequence& s, const int n, const int b, const int u) {
  const size_t row = row_of(s, n, b);
  Real* const gate = s.gates + row * 3 * s.H + u;
  const Real* const part = s.part + (size_t)b * 3 * s.H + u;
  Real w_r = part[0], w_z = part[s.H], w_n = part[2 * s.H];
  if (s.b_hh) w_r += s.b_hh[u], w_z += s.b_hh[s.H + u], w_n += s.b_hh[2 * s.H + u];
  const Real r = gate[0] = SIGMOID(gate[0] + w_r), z = gate[s.H] = SIGMOID(gate[s.H] + w_z);
  if (s.aside) s.aside[row * s.H + u] = w_n;
  gru_n(s, n, b, u, gate, z, r * w_n);
}
extern "C" __global__ void gru_after(const Sequence s, const int n) {
  ELEMENT(s.H);
  gru_after_at(s, n, b, u);
}

// gates of r and z: with W m. part: r m, of which W_n r m is then added to the gate n.
extern "C" __global__ void gru_rz(const Sequence s, const int n) {
  ELEMENT(s.H);
  const size_t row = row_of(s, n, b);
  Real* const gate = s.gates + row * 3 * s.H + u;
  const Real r = gate[0] = SIGMOID(gate[0]);
  gate[s.H] = SIGMOID(gate[s.H]);
  s.part[e] = r * (s.ms ? s.ms[row * s.H + u] : s.hs[state_of(s, n, b) * s.H + u]);
}
extern "C" __global__ void gru_before(const Sequence s, const int n) {
  ELEMENT(s.H);
  Real* const gate = s.gates + row_of(s, n, b) * 3 * s.H + u;
  gru_n(s, n, b, u, gate, gate[s.H], Real(0));
}

// The cotangents of the gates z and n, and of h where it is not multiplied by weights: added to dh.
__device__ Real gru_back(const Sequence& s, int n, int b, int u, const Real* gate, Real* out) {
  const Real d = arriving_h(s, n, b, u);
  if (rests(s, row_of(s, n, b))) return out[s.H] = out[2 * s.H] = 0;
  const Real z = gate[s.H], new_h = gate[2 * s.H];
  s.dh[b * s.H + u] += d * z;
  out[s.H] = (old_h(s, n, b, u) - new_h) * d * (1 - z) * z;
  return out[2 * s.H] = d * (1 - z) * (1 - new_h * new_h);
}

// dz: on the side of the input. dz_rec: of the recurrent product.
__device__ void gru_after_back_at(const Sequence& s, const int n, const int b, const int u) {
  const size_t row = row_of(s, n, b);
  const Real* const gate = s.gates + row * 3 * s.H + u;
  Real* const out = s.dz + row * 3 * s.H + u;
  Real* const rec = s.dz_rec + row * 3 * s.H + u;
  const Real d_n = gru_back(s, n, b, u, gate, out), r = gate[0];
  const bool rest = rests(s, row);
  rec[0] = out[0] = rest ? Real(0) : d_n * s.aside[row * s.H + u] * (1 - r) * r;
  rec[s.H] = out[s.H];
  rec[2 * s.H] = rest ? Real(0) : d_n * r;
}
extern "C" __global__ void gru_after_back(const Sequence s, const int n) {
  ELEMENT(s.H);
  gru_after_back_at(s, n, b, u);
}

extern "C" __global__ void gru_n_back(const Sequence s, const int n) {
  ELEMENT(s.H);
  const size_t at = row_of(s, n, b) * 3 * s.H + u;
  gru_back(s, n, b, u, s.gates + at, s.dz + at);
}
// part: d_n W_n, the cotangent of r m. dm takes its share of m's, to which that of the products is then added.
extern "C" __global__ void gru_rz_back(const Sequence s, const int n) {
  ELEMENT(s.H);
  const size_t row = row_of(s, n, b);
  const Real r = s.gates[row * 3 * s.H + u], d = s.part[e];
  const Real m = s.ms ? s.ms[row * s.H + u] : s.hs[state_of(s, n, b) * s.H + u];
  const bool dropped = rests(s, row) || (s.mask && s.mask[e] == 0);
  s.dz[row * 3 * s.H + u] = dropped ? Real(0) : d * m * (1 - r) * r;
  s.dm[e] = dropped ? Real(0) : d * r;
}

// ---------------------------------------------------------------- LSTM. gates: U x + b + W m, then i, f, g, o

__device__ void lstm_at(const Sequence& s, const int n, const int b, const int u) {
  const int e = b * s.H + u;
  const int H = s.H, G = s.coupled ? 3 : 4;
  const size_t row = row_of(s, n, b);
  Real* const gate = s.gates + row * G * H + u;
  const Real c_old = old_c(s, n, b, u);
  Real i = gate[0], f = s.coupled ? Real(0) : gate[H], o = gate[(G - 1) * H];
  if (s.peepholes) {
    i += s.peepholes[u] * c_old;
    f += s.coupled ? Real(0) : s.peepholes[H + u] * c_old;
  }
  i = SIGMOID(i);
  f = s.coupled ? 1 - i : SIGMOID(f);
  const Real g = tanh(gate[(G - 2) * H]);
  Real c = f * c_old + i * g;
  if (s.clip > 0) {
    const Real most = s.clip;
    const bool cut = fabs(c) > most;
    if (s.cut) s.cut[row * H + u] = cut;
    if (cut) c = c > 0 ? most : -most;
  }
  if (s.peepholes) o += s.peepholes[(G - 2) * H + u] * c;
  o = SIGMOID(o);
  gate[0] = i;
  if (!s.coupled) gate[H] = f;
  gate[(G - 2) * H] = g;
  gate[(G - 1) * H] = o;
  carry_c(s, n, b, u, c);
  if (s.part)
    s.part[e] = o * tanh(c);
  else
    carry_h(s, n, b, u, o * tanh(c));
}
extern "C" __global__ void lstm(const Sequence s, const int n) {
  ELEMENT(s.H);
  lstm_at(s, n, b, u);
}

// part: the cotangent of o tanh(c) under a projection.
__device__ void lstm_back_at(const Sequence& s, const int n, const int b, const int u) {
  const int e = b * s.H + u;
  const int H = s.H, G = s.coupled ? 3 : 4;
  const size_t row = row_of(s, n, b);
  const Real* const gate = s.gates + row * G * H + u;
  Real* const out = s.dz + row * G * H + u;
  const Real d = s.part ? s.part[e] : arriving_h(s, n, b, u);
  Real dc = arriving_c(s, n, b, u);
  if (rests(s, row)) {
    for (int k = 0; k < G; k++) out[k * H] = 0;
    return;
  }
  const Real i = gate[0], f = s.coupled ? 1 - i : gate[H], g = gate[(G - 2) * H], o = gate[(G - 1) * H];
  const Real c_old = old_c(s, n, b, u);
  const Real tanh_c = tanh(s.c_computed ? s.c_computed[row * H + u] : s.cs[state_of(s, n + 1, b) * H + u]);
  const Real d_o = d * tanh_c * (1 - o) * o;
  dc += (1 - tanh_c * tanh_c) * o * d;
  if (s.peepholes) dc += d_o * s.peepholes[(G - 2) * H + u];
  if (s.cut && s.cut[row * H + u]) dc = 0;
  const Real d_i = dc * (s.coupled ? g - c_old : g) * (1 - i) * i;
  const Real d_f = s.coupled ? Real(0) : dc * c_old * (1 - f) * f;
  Real back = dc * f;
  if (s.peepholes) back += d_i * s.peepholes[u] + (s.coupled ? Real(0) : d_f * s.peepholes[H + u]);
  s.dc[e] += back;
  out[0] = d_i;
  if (!s.coupled) out[H] = d_f;
  out[(G - 2) * H] = dc * i * (1 - g * g);
  out[(G - 1) * H] = d_o;
}
extern "C" __global__ void lstm_back(const Sequence s, const int n) {
  ELEMENT(s.H);
  lstm_back_at(s, n, b, u);
}
