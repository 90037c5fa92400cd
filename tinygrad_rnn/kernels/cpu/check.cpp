// Runs every cell, and the layers' neighbours, on drawn sizes, lengths and threads, for the
// sanitizers: `make sanitize`.
//
// Arrays have exactly the size they need, so that a step beyond an end is noticed. The results with
// several threads must be those with one.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "levels.hpp"

using namespace tgrnn;

namespace {

std::mt19937 source(1);

long integer(long low, long high) { return std::uniform_int_distribution<long>(low, high)(source); }

template <class T> std::vector<T> drawn(long n) {
  std::vector<T> v(n);
  for (T &x : v) x = std::normal_distribution<T>()(source) / 4;
  return v;
}

template <class T> bool same(const std::vector<T> &a, const std::vector<T> &b) {
  for (size_t i = 0; i < a.size(); i++)
    if (!(std::fabs(a[i] - b[i]) <= 1e-4 * (1 + std::fabs(b[i])))) return false;
  return true;
}

template <class T> bool once(const Kernels &kernels, void (*forward)(const Layer<T> &, const Forward<T> &),
                             void (*backward)(const Layer<T> &, const Backward<T> &), long lanes) {
  Layer<T> l{};
  l.cell = static_cast<Cell>(integer(0, 4));
  l.steps = integer(1, 12), l.batch = integer(1, 12), l.features = integer(1, 40), l.hidden = l.out = integer(1, 70);
  l.reverse = integer(0, 1);
  const bool lstm = l.cell == Cell::lstm;
  const long T_ = l.steps, B = l.batch, I = l.features, H = l.hidden, G = gates(l.cell);
  const long padded = (H + lanes - 1) / lanes * lanes, planes = saved_planes(l.cell);
  const auto x = drawn<T>(T_ * B * I), h0 = drawn<T>(B * H), c0 = drawn<T>(B * H), w_ih = drawn<T>(G * H * I),
             w_hh = drawn<T>(G * H * H), b_ih = drawn<T>(G * H), b_hh = drawn<T>(G * H);
  const auto gy = drawn<T>(T_ * B * H), gh = drawn<T>(B * H), gc = drawn<T>(B * H), gcs = drawn<T>(T_ * B * H),
             h_mask = drawn<T>(B * H);
  std::vector<int64_t> lengths(B);
  for (auto &n : lengths) n = integer(0, T_);
  l.x = x.data(), l.h0 = h0.data(), l.c0 = lstm ? c0.data() : nullptr, l.w_ih = w_ih.data(), l.w_hh = w_hh.data();
  l.b_ih = integer(0, 2) ? b_ih.data() : nullptr;
  l.b_hh = integer(0, 2) && l.cell != Cell::gru ? b_hh.data() : nullptr;
  l.lengths = integer(0, 1) ? lengths.data() : nullptr;
  const auto reset = std::make_unique<bool[]>(T_ * B);
  for (long i = 0; i < T_ * B; i++) reset[i] = integer(0, 5) == 0;
  l.reset = integer(0, 1) ? reset.get() : nullptr;
  l.h_mask = integer(0, 1) ? h_mask.data() : nullptr;
  std::vector<T> first;
  for (int threads = 1; threads <= 3; threads++) {
    l.threads = threads;
    std::vector<T> y(T_ * B * H), h_n(B * H), c_n(B * H), cs(T_ * B * H), gates(T_ * B * planes * padded), cells(T_ * B * padded),
        tanh_cells(T_ * B * padded), dx(T_ * B * I), dh0(B * H), dc0(B * H), dw_ih(G * H * I), dw_hh(G * H * H),
        db_ih(G * H), db_hh(G * H);
    forward(l, {y.data(), h_n.data(), c_n.data(), nullptr, nullptr, nullptr, nullptr}); // nobody differentiates
    forward(l, {y.data(), h_n.data(), c_n.data(), lstm ? cs.data() : nullptr, planes ? gates.data() : nullptr, lstm ? cells.data() : nullptr,
                lstm ? tanh_cells.data() : nullptr});
    backward(l, {y.data(), gates.data(), cells.data(), tanh_cells.data(), gy.data(), gh.data(), gc.data(), gcs.data(), dx.data(),
                 dh0.data(), lstm ? dc0.data() : nullptr, dw_ih.data(), dw_hh.data(), db_ih.data(), db_hh.data()});
    std::vector<T> all;
    for (const auto *v : {&y, &h_n, &cs, &dx, &dh0, &dw_ih, &dw_hh, &db_ih, &db_hh}) all.insert(all.end(), v->begin(), v->end());
    if (threads == 1) first = all;
    if (!same(all, first)) {
      std::printf("%s, cell %d, T %ld B %ld I %ld H %ld: %d threads differ from one\n", kernels.name, (int)l.cell, T_, B,
                  I, H, threads);
      return false;
    }
  }
  return true;
}

template <class T> bool neighbours(const Kernels &kernels, void (*cross_entropy)(const Logits<T> &), void (*adam)(const AdamStep<T> &)) {
  Logits<T> l{};
  l.rows = integer(1, 20), l.classes = integer(1, 100);
  const auto x = drawn<T>(l.rows * l.classes), weights = drawn<T>(l.rows), g = drawn<T>(l.rows * l.classes);
  std::vector<int64_t> targets(l.rows);
  for (auto &t : targets) t = integer(0, l.classes - 1);
  l.x = x.data(), l.targets = targets.data();
  std::vector<T> first;
  for (int threads = 1; threads <= 3; threads++) {
    std::vector<T> losses(l.rows), gradient(x.size()), p(x), m(x.size()), v(x.size());
    l.threads = threads;
    l.weights = nullptr, l.out = losses.data(), cross_entropy(l);
    l.weights = weights.data(), l.out = gradient.data(), cross_entropy(l);
    adam({p.data(), g.data(), m.data(), v.data(), (long)p.size(), T(0.9), T(0.99), T(0.1), T(0.01), 1, 0, 1, T(1e-8), T(1e-3), threads});
    std::vector<T> all;
    for (const auto *w : {&losses, &gradient, &p, &m, &v}) all.insert(all.end(), w->begin(), w->end());
    if (threads == 1) first = all;
    if (all != first) {
      std::printf("%s, %ld rows of %ld classes: %d threads differ from one\n", kernels.name, l.rows, l.classes, threads);
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
    if (!once<float>(kernels, kernels.forward_float, kernels.backward_float, kernels.lanes_float) ||
        !once<double>(kernels, kernels.forward_double, kernels.backward_double, kernels.lanes_double) ||
        !neighbours<float>(kernels, kernels.cross_entropy_float, kernels.adam_float) ||
        !neighbours<double>(kernels, kernels.cross_entropy_double, kernels.adam_double))
      return 1;
  std::printf("%s: %d rounds\n", kernels.name, rounds);
}
