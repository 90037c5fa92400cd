// The LSTM: c' = f c + i g, h' = o tanh(c'). Gates i, f, g, o; a panel holds a vector of units of each.
//
// Three gates are coupled ones: f = 1 - i. What else an LSTM may have (peepholes, a clip, zoneout of
// c, a projection) costs the plain one nothing: it is compiled for itself, with `Extras` false.
#pragma once

#include "backward.hpp"
#include "forward.hpp"
#include "math.hpp"

namespace tgrnn::LEVEL {

// What an LSTM may have besides, by vectors of units.
template <class T, bool Extras> struct LstmExtras {
  static constexpr int V = lanes<T>;
  const Layer<T> &layer;

  bool projects() const { return Extras && layer.w_hr; }
  bool peeps() const { return Extras && layer.w_ch; }
  bool clips() const { return Extras && layer.cell_clip > 0; }
  bool zones() const { return Extras && layer.c_zone.shares; }

  // The k-th peephole's.
  Vector<T> peephole(int k, long j) const {
    return load(layer.w_ch + k * layer.hidden + j, (int)smaller(V, layer.hidden - j));
  }

  // A gate with what it sees of c.
  Vector<T> seen(Vector<T> gate, int k, long j, Vector<T> c) const { return peeps() ? gate + peephole(k, j) * c : gate; }

  Vector<T> clipped(Vector<T> c) const {
    if (!clips()) return c;
    const Vector<T> high = broadcast(layer.cell_clip);
    c = c > high ? high : c;
    return c < -high ? -high : c;
  }

  // Where the clip lets c be, and with it a gradient through.
  Vector<T> within(Vector<T> c, Vector<T> d) const {
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
  T *c0;       // where no cells are kept, all states follow each other here
  T *squashed; // (B, Hp), o tanh(c~), before a projection

  LstmForward(Pass &pass)
      : extras{pass.layer}, w(pass.scratch, pass.layer.w_hh, pass.layer.hidden, pass.layer.out, 0, Gates, 1, pass.pack_weights),
        projection(pass.scratch, pass.layer.w_hr, extras.projects() ? pass.layer.out : 0, pass.layer.hidden, 0, 1, widest, pass.pack_weights) {
    c0 = pass.scratch.template zeros<T>(pass.layer.batch * pass.padded);
    for (long b = 0; b < pass.layer.batch; b++)
      memcpy(c0 + b * pass.padded, pass.layer.c0 + b * pass.layer.hidden, pass.layer.hidden * sizeof(T));
    squashed = extras.projects() ? pass.scratch.template take<T>(pass.layer.batch * pass.padded) : nullptr;
  }

  void pack(Share share) override {
    w.pack(share.some_from(w.count()), share.some_to(w.count()));
    projection.pack(share.some_from(projection.count()), share.some_to(projection.count()));
  }

  T *cells(const Pass &pass, long t, long b) const { // after step t
    return pass.out.cells ? pass.out.cells + (t * pass.layer.batch + b) * pass.padded : c0 + b * pass.padded;
  }

  void step(const Pass &pass, Team &team, Share share, const Step<T> &s) override {
    const long H = pass.layer.hidden, Hp = pass.padded, B = pass.layer.batch, t = s.t;
    const bool keep = pass.out.gates;
    sweep(w, share.from(w.count()), share.to(w.count()), s.a, s.rows, w.depth,
          [&](long p, int, long r, T *tile) {
            const long j = p * V, b = s.row[r], at = t * B + b;
            const T *ux = s.u[r] + j;
            T *z = s.z[r] + j;
            const T *c_before = (pass.course.anew(t, b)    ? pass.nothing
                                 : pass.course.first(t, b) ? c0 + b * Hp
                                                           : cells(pass, pass.course.before(t), b)) +
                                j;
            const Vector<T> c_old = load(c_before);
            auto gate = [&](int k) { return load(ux + k * Hp) + load(tile + k * V); };
            const Vector<T> i = sigmoid<T>(extras.seen(gate(0), 0, j, c_old)),
                            f = Gates == 3 ? T(1) - i : sigmoid<T>(extras.seen(gate(1), 1, j, c_old)), g = tanh<T>(gate(G));
            const Vector<T> made = f * c_old + i * g, c = extras.clipped(made);
            const Vector<T> o = sigmoid<T>(extras.seen(gate(O), Gates - 2, j, c));
            const int some = (int)smaller(V, H - j);
            Vector<T> after = c;
            if (extras.zones()) {
              const Vector<T> old = survives(pass.layer.c_zone, at * H + j, some);
              after = old * c_old + (T(1) - old) * c;
            }
            store(cells(pass, t, b) + j, after);
            if (pass.out.cs) store(pass.out.cs + at * H + j, after, some);
            store(tile, o), store(tile + V, c);
            if (keep) {
              store(z, i), store(z + G * Hp, g), store(z + O * Hp, o);
              if (Gates == 4) store(z + Hp, f);
              if (Extras && pass.out.made_cells) store(pass.out.made_cells + at * Hp + j, made);
            }
          },
          Nothing(),
          [&](long p, int, long r, const T *tile) {
            const long j = p * V, b = s.row[r];
            const Vector<T> o = load(tile), u = tanh<T>(load(tile + V));
            if (extras.projects())
              store(squashed + b * Hp + j, o * u);
            else
              pass.put(s, r, j, o * u);
            if (keep) store(pass.out.tanh_cells + (t * B + b) * Hp + j, u);
          });
    if (!extras.projects()) return;
    if (!share.by_rows) team.barrier();
    for (long r = 0; r < s.rows; r++) s.spare[r] = squashed + s.row[r] * Hp;
    sweep(projection, share.from(projection.count()), share.to(projection.count()), s.spare, s.rows, projection.depth,
          [&](long p, int width, long r, const T *tile) {
            for (long v = 0, j = p * widest * V; v < width; v++, j += V) pass.put(s, r, j, load(tile + v * V));
          });
  }

  void last(const Pass &pass) const override {
    for (long b = 0; b < pass.layer.batch; b++) {
      const bool ran = pass.course.length(b);
      memcpy(pass.out.c_n + b * pass.layer.hidden, ran ? cells(pass, pass.course.last(b), b) : c0 + b * pass.padded,
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
  T *peepholes; // (threads, Gates - 1, Hp), their gradients as each thread adds them up

  LstmBackward(Pass &pass)
      : extras{pass.layer}, w(pass.scratch, pass.recurrent_rows(), Gates * pass.padded, pass.layer.out),
        projection(pass.scratch, projection_rows(pass), extras.projects() ? pass.layer.out : 0, pass.layer.hidden),
        dc(pass.padded_copy(pass.io.gc, pass.layer.hidden, pass.padded)),
        c0(pass.padded_copy(pass.layer.c0, pass.layer.hidden, pass.padded)),
        peepholes(extras.peeps() ? pass.scratch.template zeros<T>(pass.layer.threads * (Gates - 1) * pass.padded) : nullptr) {}

  const T *const *projection_rows(Pass &pass) const {
    if (!extras.projects()) return nullptr;
    const T **rows = pass.scratch.template take<const T *>(pass.layer.out);
    for (long k = 0; k < pass.layer.out; k++) rows[k] = pass.layer.w_hr + k * pass.layer.hidden;
    return rows;
  }

  void pack(Share share) override {
    w.pack(share.some_from(w.count()), share.some_to(w.count()));
    projection.pack(share.some_from(projection.count()), share.some_to(projection.count()));
  }

  void step(const Pass &pass, Team &team, Share share, const BackStep<T> &s) override {
    sweep(w, share.from(w.count()), share.to(w.count()), s.dz, s.rows, s.received ? w.depth : 0,
          [&](long p, int width, long r, const T *tile) {
            for (long v = 0, j = p * widest * V; v < width; v++, j += V) {
              Vector<T> dh;
              if (!pass.receive(s, r, j, tile + v * V, dh)) continue;
              store(pass.dh + s.row[r] * pass.padded_out + j, Vector<T>{});
              if (extras.projects())
                store(s.to[r] + pass.width + j, dh);
              else
                gates_of(pass, share, s, r, j, dh);
            }
          });
    if (!extras.projects() || s.running == 0) return;
    if (!share.by_rows) team.barrier();
    for (long r = 0; r < s.running; r++) s.spare[r] = s.to[r] + pass.width;
    sweep(projection, share.from(projection.count()), share.to(projection.count()), s.spare, s.running, projection.depth,
          [&](long p, int width, long r, const T *tile) {
            for (long v = 0, j = p * widest * V; v < width; v++, j += V) gates_of(pass, share, s, r, j, load(tile + v * V));
          });
  }

  // The gates' cotangents from that of o tanh(c~).
  void gates_of(const Pass &pass, Share share, const BackStep<T> &s, long r, long j, Vector<T> dh) const {
    const long H = pass.layer.hidden, Hp = pass.padded, B = pass.layer.batch, t = s.t, b = s.row[r], at = t * B + b;
    const auto &io = pass.io;
    const T *gate = io.gates + at * Gates * Hp + j;
    const Vector<T> i = load(gate), f = Gates == 3 ? T(1) - i : load(gate + Hp), g = load(gate + G * Hp), o = load(gate + O * Hp);
    const Vector<T> u = load(io.tanh_cells + at * Hp + j);
    const bool anew = pass.course.anew(t, b);
    const T *c_before = anew ? pass.nothing : pass.course.first(t, b) ? c0 + b * Hp : io.cells + (pass.course.before(t) * B + b) * Hp;
    const Vector<T> c_old = load(c_before + j), d_o = dh * u * o * (T(1) - o);
    const int some = (int)smaller(V, H - j);
    T *dc_ = this->dc + b * Hp + j, *d = s.to[r] + j;
    Vector<T> dc = load(dc_), past = {};
    if (io.gcs) dc += load(io.gcs + at * H + j, some);
    if (extras.zones()) {
      const Vector<T> old = survives(pass.layer.c_zone, at * H + j, some);
      past = old * dc, dc = (T(1) - old) * dc;
    }
    dc += dh * o * (T(1) - u * u);
    if (extras.peeps()) dc += d_o * extras.peephole(Gates - 2, j);
    if (extras.clips()) dc = extras.within(load(io.made_cells + at * Hp + j), dc);
    const Vector<T> d_i = dc * (Gates == 3 ? g - c_old : g) * i * (T(1) - i), d_f = dc * c_old * f * (T(1) - f);
    store(d, pass.units(d_i, j));
    if (Gates == 4) store(d + Hp, pass.units(d_f, j));
    store(d + G * Hp, pass.units(dc * i * (T(1) - g * g), j));
    store(d + O * Hp, pass.units(d_o, j));
    if (extras.projects()) store(d + pass.width + pass.padded_out, o * u);
    dc *= f;
    if (extras.peeps()) {
      const Vector<T> c = extras.clipped(load((io.made_cells ? io.made_cells : io.cells) + at * Hp + j));
      T *sum = peepholes + share.id * (Gates - 1) * Hp + j;
      auto add = [&](int k, Vector<T> d, Vector<T> seen) { store(sum + k * Hp, load(sum + k * Hp) + d * seen); };
      dc += d_i * extras.peephole(0, j), add(0, d_i, c_old);
      if (Gates == 4) dc += d_f * extras.peephole(1, j), add(1, d_f, c_old);
      add(Gates - 2, d_o, c);
    }
    if (extras.zones()) dc += past;
    store(dc_, anew ? Vector<T>{} : dc);
  }

  void last(const Pass &pass) const override {
    const long H = pass.layer.hidden, Hp = pass.padded;
    for (long b = 0; pass.io.dc0 && b < pass.layer.batch; b++) memcpy(pass.io.dc0 + b * H, dc + b * Hp, H * sizeof(T));
    for (long k = 0; pass.io.dw_ch && k < Gates - 1; k++)
      for (long j = 0; j < H; j++) {
        T sum = 0;
        for (long id = 0; id < pass.layer.threads; id++) sum += peepholes[(id * (Gates - 1) + k) * Hp + j];
        pass.io.dw_ch[k * H + j] = sum;
      }
  }
};

} // namespace tgrnn::LEVEL
