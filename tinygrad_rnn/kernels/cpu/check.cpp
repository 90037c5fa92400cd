// A test of all kernels for the sanitizers (`make sanitize`): random cells, shapes, lengths,
// options and numbers of threads.
//
// Arrays have exactly their required size, so that any access out of bounds is detected. Results
// must not depend on the number of threads. Takes the number of rounds; exits with 1 after printing
// what failed.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "kernels.hpp"

using namespace tgrnn;

namespace {

std::mt19937 rng(1);

long integer(long low, long high) { return std::uniform_int_distribution<long>(low, high)(rng); }

template <class T> std::vector<T> random(long n) {
  std::vector<T> v(n);
  for (T &x : v) x = std::normal_distribution<T>()(rng) / 4;
  return v;
}

template <class T> bool same(const std::vector<T> &a, const std::vector<T> &b) {
  for (size_t i = 0; i < a.size(); i++)
    if (!(std::fabs(a[i] - b[i]) <= 1e-4 * (1 + std::fabs(b[i])))) return false;
  return true;
}

// A matrix quantized to 8 bits, as quantize.py does it.
struct QuantizedWeights {
  std::vector<uint8_t> data;
  std::vector<float> scales;
  QuantizedWeights(const std::vector<float> &w, long rows) : scales(rows) {
    const long depth = (long)w.size() / rows,
               ld = (depth + kQuantizedBlock - 1) / kQuantizedBlock * kQuantizedBlock;
    data.assign(rows * ld, 128);
    for (long r = 0; r < rows; r++) {
      for (long k = 0; k < depth; k++)
        scales[r] = std::max(scales[r], std::fabs(w[r * depth + k]) / 127);
      for (long k = 0; k < depth; k++)
        data[r * ld + k] = (uint8_t)(128 + std::lround(w[r * depth + k] / scales[r]));
    }
  }
};

template <class T>
bool check_layer(const Kernels &kernels, void (*forward)(const Layer<T> &, const Forward<T> &),
                 void (*backward)(const Layer<T> &, const Backward<T> &), long lanes) {
  Layer<T> l{};
  l.cell = static_cast<Cell>(integer(0, 5));
  l.steps = integer(1, 12), l.batch = integer(1, 12), l.features = integer(1, 40),
  l.hidden = l.out = integer(1, 70);
  l.reverse = integer(0, 1);
  const bool lstm = is_lstm(l.cell), projects = lstm && integer(0, 1);
  if (projects) l.out = integer(1, 70);
  if (integer(0, 1)) l.features = l.out;
  const long T_ = l.steps, B = l.batch, I = l.features, H = l.hidden, P = l.out, G = gates(l.cell);
  if (integer(0, 1)) l.entries = integer(1, 30);
  const auto x = random<T>((l.entries ? l.entries : T_ * B) * I), h0 = random<T>(B * P),
             c0 = random<T>(B * H), w_ih = random<T>(G * H * I), w_hh = random<T>(G * H * P),
             b_ih = random<T>(G * H), b_hh = random<T>(G * H), w_hr = random<T>(P * H),
             w_ch = random<T>((G - 1) * H);
  const auto gy = random<T>(T_ * B * P), gh = random<T>(B * P), gc = random<T>(B * H),
             gcs = random<T>(T_ * B * H), h_mask = random<T>(B * P),
             h_zoneout = random<T>(T_ * B * P), c_zoneout = random<T>(T_ * B * H),
             scalar_keep = random<T>(1);
  std::vector<int64_t> lengths(B);
  for (auto &n : lengths) n = integer(0, T_);
  std::vector<int64_t> ids(T_ * B);
  for (auto &id : ids) id = integer(0, std::max(0L, l.entries - 1));
  l.ids = l.entries ? ids.data() : nullptr;
  l.x = x.data(), l.h0 = h0.data(), l.c0 = lstm ? c0.data() : nullptr, l.w_ih = w_ih.data(),
  l.w_hh = w_hh.data();
  l.b_ih = integer(0, 2) ? b_ih.data() : nullptr;
  l.b_hh = integer(0, 2) && l.cell != Cell::gru ? b_hh.data() : nullptr;
  l.lengths = integer(0, 1) ? lengths.data() : nullptr;
  const auto reset = std::make_unique<bool[]>(T_ * B);
  for (long i = 0; i < T_ * B; i++) reset[i] = integer(0, 5) == 0;
  l.reset = integer(0, 1) ? reset.get() : nullptr;
  l.h_mask = integer(0, 1) ? h_mask.data() : nullptr;
  auto zoneout = [&](const std::vector<T> &keep) -> Zoneout<T> {
    const bool single = integer(0, 1);
    return {integer(0, 1) ? nullptr : single ? scalar_keep.data() : keep.data(), single};
  };
  l.h_zoneout = zoneout(h_zoneout);
  if (projects) l.w_hr = w_hr.data();
  if (lstm && integer(0, 1)) l.w_ch = w_ch.data();
  if (lstm && integer(0, 1)) l.c_zoneout = zoneout(c_zoneout);
  if (lstm && integer(0, 1)) l.cell_clip = T(0.5);
  const long padded = (H + lanes - 1) / lanes * lanes, planes = saved_planes(l);
  const bool raw = saves_raw_cells(l);
  std::vector<T> expected;
  for (int threads = 1; threads <= 3; threads++) {
    l.threads = threads;
    std::vector<T> y(T_ * B * P), h_n(B * P), c_n(B * H), cs(T_ * B * H),
        gates(T_ * B * planes * padded), cells(T_ * B * padded), tanh_cells(T_ * B * padded),
        raw_cells(T_ * B * padded), dx(x.size()), dh0(B * P), dc0(B * H), dw_ih(G * H * I),
        dw_hh(G * H * P), db_ih(G * H), db_hh(G * H), dw_hr(projects ? P * H : 0),
        dw_ch(l.w_ch ? (G - 1) * H : 0);
    forward(l, {y.data(), h_n.data(), c_n.data(), nullptr, nullptr, nullptr, nullptr,
                nullptr}); // inference
    forward(l, {y.data(), h_n.data(), c_n.data(), lstm ? cs.data() : nullptr,
                planes ? gates.data() : nullptr, lstm ? cells.data() : nullptr,
                lstm ? tanh_cells.data() : nullptr, raw ? raw_cells.data() : nullptr});
    if (I == P && !l.ids) { // stacked layers write over their inputs
      std::vector<T> over(x), h(B * P), c(B * H);
      Layer<T> in_place = l;
      in_place.x = over.data();
      forward(in_place,
              {over.data(), h.data(), c.data(), nullptr, nullptr, nullptr, nullptr, nullptr});
      if (over != y) {
        std::printf(
            "%s, cell %d, T %ld B %ld I %ld H %ld: the result in place of the inputs differs\n",
            kernels.name, (int)l.cell, T_, B, I, H);
        return false;
      }
    }
    backward(l, {y.data(), planes ? gates.data() : nullptr, cells.data(), tanh_cells.data(),
                 raw ? raw_cells.data() : nullptr, gy.data(), gh.data(), gc.data(), gcs.data(),
                 dx.data(), dh0.data(), lstm ? dc0.data() : nullptr, dw_ih.data(), dw_hh.data(),
                 db_ih.data(), db_hh.data(), dw_hr.size() ? dw_hr.data() : nullptr,
                 dw_ch.size() ? dw_ch.data() : nullptr});
    if constexpr (sizeof(T) == 4) {
      const QuantizedWeights ih(w_ih, G * H), hh(w_hh, G * H);
      Layer<T> quantized = l;
      quantized.w_ih.quantized = {ih.data.data(), ih.scales.data()},
      quantized.w_hh.quantized = {hh.data.data(), hh.scales.data()};
      std::vector<T> y_n(T_ * B * P), h_r(B * P), c_r(B * H), h_1(B * P);
      forward(quantized,
              {y_n.data(), h_r.data(), c_r.data(), nullptr, nullptr, nullptr, nullptr, nullptr});
      Layer<T> exact = l; // compares the first step only, as errors grow from step to step
      quantized.steps = exact.steps = 1, quantized.lengths = exact.lengths = nullptr;
      forward(quantized,
              {y_n.data(), h_r.data(), c_r.data(), nullptr, nullptr, nullptr, nullptr, nullptr});
      forward(exact,
              {y_n.data(), h_1.data(), c_r.data(), nullptr, nullptr, nullptr, nullptr, nullptr});
      for (long i = 0; i < B * P; i++)
        if (!(std::fabs(h_r[i] - h_1[i]) <= 0.1)) {
          std::printf("%s, cell %d, B %ld I %ld H %ld: quantized weights give wrong results\n",
                      kernels.name, (int)l.cell, B, I, H);
          return false;
        }
    }
    std::vector<T> all;
    for (const auto *v : {&y, &h_n, &cs, &dx, &dh0, &dw_ih, &dw_hh, &db_ih, &db_hh, &dw_hr, &dw_ch})
      all.insert(all.end(), v->begin(), v->end());
    if (threads == 1) expected = all;
    if (!same(all, expected)) {
      std::printf("%s, cell %d, T %ld B %ld I %ld H %ld P %ld: %d threads differ from one\n",
                  kernels.name, (int)l.cell, T_, B, I, H, P, threads);
      return false;
    }
  }
  return true;
}

template <class T>
bool check_training(const Kernels &kernels, void (*cross_entropy)(const Logits<T> &),
                    void (*add_rows)(const RowSums<T> &), void (*add_squares)(const Squares<T> &),
                    void (*adam)(const AdamStep<T> &)) {
  Logits<T> l{};
  l.rows = integer(1, 20), l.classes = integer(1, 100);
  const auto x = random<T>(l.rows * l.classes), weights = random<T>(l.rows),
             g = random<T>(l.rows * l.classes);
  std::vector<int64_t> targets(l.rows);
  for (auto &t : targets) t = integer(0, l.classes - 1);
  l.x = x.data(), l.targets = targets.data(), l.smoothing = T(0.1 * (double)integer(0, 1));
  std::vector<int64_t> ids(l.rows);
  const long entries = integer(1, 10);
  for (auto &id : ids) id = integer(-entries, entries - 1);
  std::vector<T> expected;
  for (int threads = 1; threads <= 3; threads++) {
    std::vector<T> table(entries * l.classes);
    add_rows({table.data(), ids.data(), g.data(), entries, l.rows, l.classes, threads});
    std::vector<T> losses(l.rows), gradient(x.size()), p(x), m(x.size()), v(x.size());
    l.threads = threads;
    l.weights = nullptr, l.losses = losses.data(), l.gradient = nullptr, cross_entropy(l);
    const std::vector<T> alone(losses);
    l.weights = weights.data(), l.losses = nullptr, l.gradient = gradient.data(), cross_entropy(l);
    std::vector<T> x_too(x); // in place, with the losses
    Logits<T> in_place = l;
    in_place.x = in_place.gradient = x_too.data(), in_place.losses = losses.data();
    std::vector<T> sums(l.classes);
    in_place.sums = sums.data(), cross_entropy(in_place);
    if (losses != alone || x_too != gradient) {
      std::printf(
          "%s, %ld rows of %ld classes: loss and gradient together differ from each alone\n",
          kernels.name, l.rows, l.classes);
      return false;
    }
    adam({p.data(), g.data(), m.data(), v.data(), (long)p.size(), T(0.9), T(0.99), T(0.1), T(0.01),
          1, 0, 1, T(1e-8), T(1e-3), threads});
    std::vector<T> all;
    double sum = 0, squares = 0;
    for (T value : x) sum += (double)value * (double)value;
    add_squares({x.data(), (long)x.size(), &squares, threads});
    if (!(std::fabs(sum - squares) <= 1e-12 * sum)) {
      std::printf("%s: %ld squares: wrong sum\n", kernels.name, (long)x.size());
      return false;
    }
    for (const auto *w : {&table, &losses, &gradient, &p, &m, &v})
      all.insert(all.end(), w->begin(), w->end());
    if (threads == 1) expected = all;
    if (all != expected) {
      std::printf("%s, %ld rows of %ld classes: %d threads differ from one\n", kernels.name, l.rows,
                  l.classes, threads);
      return false;
    }
  }
  return true;
}

// Products of operands that are contiguous by rows or columns, packed, or given by lines.
template <class T>
bool check_product(void (*product)(const Product<T> &), void (*pack)(const Matrix<T> &, T *),
                   long lanes) {
  const long m = integer(1, 120), k = integer(1, integer(0, 3) ? 60 : 700),
             n = integer(1, integer(0, 3) ? 60 : 400);
  const auto a = random<T>(m * k), b = random<T>(k * n);
  const bool a_transposed = integer(0, 1), b_transposed = integer(0, 1),
             by_lines = a_transposed && !b_transposed && integer(0, 1);
  std::vector<T> panels(k * ((n + lanes - 1) / lanes * lanes)), c(m * n), expected(m * n);
  std::vector<const T *> a_lines, b_lines;
  for (long i = 0; i < k; i++)
    a_lines.push_back(a.data() + i * m), b_lines.push_back(b.data() + i * n);
  Product<T> p{};
  p.a = {a.data(),
         m,
         k,
         a_transposed ? 1 : k,
         a_transposed ? m : 1,
         by_lines ? a_lines.data() : nullptr};
  p.b = {b.data(),
         k,
         n,
         b_transposed ? 1 : n,
         b_transposed ? k : 1,
         by_lines ? b_lines.data() : nullptr};
  if (by_lines) p.a.data = p.b.data = nullptr;
  for (long i = 0; i < m; i++)
    for (long j = 0; j < n; j++)
      for (long l = 0; l < k; l++)
        expected[i * n + j] +=
            a[a_transposed ? l * m + i : i * k + l] * b[b_transposed ? j * k + l : l * n + j];
  for (p.threads = 1; p.threads <= 3; p.threads++)
    for (int packed = 0; packed <= !by_lines; packed++) {
      Product<T> q = p;
      if ((q.packed = packed)) pack(p.b, panels.data()), q.b = {panels.data(), k, n, 0, 0, nullptr};
      q.c = c.data();
      const auto bias = random<T>(n);
      q.bias = integer(0, 1) ? bias.data() : nullptr;
      product(q);
      for (long i = 0; q.bias && i < m * n; i++) c[i] -= bias[i % n];
      if ((q.accumulate = integer(0, 1))) {
        for (T &x : c) x /= 2;
        std::vector<T> half(c);
        product(q);
        for (size_t i = 0; i < c.size(); i++) c[i] -= half[i];
      }
      if (!same(c, expected)) {
        std::printf("product, %ld x %ld x %ld, transposed %d %d, by lines %d, packed %d: wrong "
                    "with %d threads\n",
                    m, k, n, a_transposed, b_transposed, by_lines, packed, p.threads);
        return false;
      }
    }
  return true;
}

// Evaluation row by row must give the same as evaluation of one long row.
template <class T> bool check_elementwise(void (*evaluate)(const ElementwiseProgram<T> &)) {
  const long rows = integer(1, 5), columns = integer(1, integer(0, 1) ? 20 : 600);
  const int inputs = (int)integer(1, 4), numbers = (int)integer(0, 2), own = (int)integer(1, 6),
            length = own + (int)integer(0, 20);
  std::vector<Instruction> code(length);
  auto any = [&] { return (unsigned char)integer(0, inputs + numbers + own - 1); };
  for (auto &i : code)
    i = {(Opcode)integer(0, (int)Opcode::count - 1), any(), any(),
         (unsigned char)(inputs + numbers + integer(0, own - 1))};
  for (int i = 0; i < own; i++)
    code[i] = {Opcode::negative, (unsigned char)integer(0, inputs - 1), 0,
               (unsigned char)(inputs + numbers + i)};
  const unsigned char results[] = {any(), any(), any()};
  const auto constants = random<T>(numbers);
  std::vector<std::vector<T>> data, outputs[2];
  for (int i = 0; i < inputs; i++) data.push_back(random<T>(rows * columns));
  for (int flat = 0; flat < 2; flat++) {
    std::vector<Input<T>> in;
    std::vector<Output<T>> out;
    for (auto &d : data) in.push_back({d.data(), columns});
    outputs[flat].assign(3, std::vector<T>(rows * columns));
    for (auto &o : outputs[flat]) out.push_back({o.data(), columns});
    evaluate({flat ? 1 : rows, flat ? rows * columns : columns, in.data(), constants.data(), inputs,
              numbers, inputs + numbers + own, length, 3, code.data(), results, out.data()});
  }
  for (int i = 0; i < 3; i++)
    for (long k = 0; k < rows * columns; k++) {
      const T a = outputs[0][i][k], b = outputs[1][i][k];
      if (!(a == b) && (a == a || b == b)) {
        std::printf("elementwise program of %d, %ld x %ld: one row differs from many\n", length,
                    rows, columns);
        return false;
      }
    }
  return true;
}

} // namespace

int main(int count, char **arguments) {
  const Kernels &kernels = best_kernels();
  const int rounds = count > 1 ? std::atoi(arguments[1]) : 100;
  for (int i = 0; i < rounds; i++)
    if (!check_layer<float>(kernels, kernels.forward_float, kernels.backward_float,
                            kernels.lanes_float) ||
        !check_layer<double>(kernels, kernels.forward_double, kernels.backward_double,
                             kernels.lanes_double) ||
        !check_training<float>(kernels, kernels.cross_entropy_float, kernels.add_rows_float,
                               kernels.add_squares_float, kernels.adam_float) ||
        !check_training<double>(kernels, kernels.cross_entropy_double, kernels.add_rows_double,
                                kernels.add_squares_double, kernels.adam_double) ||
        !check_product<float>(kernels.product_float, kernels.pack_float, kernels.lanes_float) ||
        !check_product<double>(kernels.product_double, kernels.pack_double, kernels.lanes_double) ||
        !check_elementwise<float>(kernels.evaluate_float) ||
        !check_elementwise<double>(kernels.evaluate_double))
      return 1;
  std::printf("%s: %d rounds\n", kernels.name, rounds);
}
