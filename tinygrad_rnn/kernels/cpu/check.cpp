// Runs every cell on drawn sizes, lengths and threads, for the sanitizers: `make sanitize`.
//
// Arrays have exactly the size they need, so that a step beyond an end is noticed. The results with
// several threads must be those with one.
#include <algorithm>
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

// A matrix rounded to 8 bits, as rounding.py does it.
struct RoundedMatrix {
  std::vector<uint8_t> data;
  std::vector<float> scales;
  RoundedMatrix(const std::vector<float> &w, long rows) : scales(rows) {
    const long depth = (long)w.size() / rows, ld = (depth + rounded_block - 1) / rounded_block * rounded_block;
    data.assign(rows * ld, 128);
    for (long r = 0; r < rows; r++) {
      for (long k = 0; k < depth; k++) scales[r] = std::max(scales[r], std::fabs(w[r * depth + k]) / 127);
      for (long k = 0; k < depth; k++) data[r * ld + k] = (uint8_t)(128 + std::lround(w[r * depth + k] / scales[r]));
    }
  }
};

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
    if constexpr (sizeof(T) == 4) {
      const RoundedMatrix ih(w_ih, G * H), hh(w_hh, G * H);
      Layer<T> rounded = l;
      rounded.w_ih.rounded = {ih.data.data(), ih.scales.data()}, rounded.w_hh.rounded = {hh.data.data(), hh.scales.data()};
      std::vector<T> y_n(T_ * B * H), h_r(B * H), c_n(B * H), h_1(B * H);
      forward(rounded, {y_n.data(), h_r.data(), c_n.data(), nullptr, nullptr, nullptr, nullptr});
      Layer<T> exact = l; // small errors grow from step to step: the first alone is compared
      rounded.steps = exact.steps = 1, rounded.lengths = exact.lengths = nullptr;
      forward(rounded, {y_n.data(), h_r.data(), c_n.data(), nullptr, nullptr, nullptr, nullptr});
      forward(exact, {y_n.data(), h_1.data(), c_n.data(), nullptr, nullptr, nullptr, nullptr});
      for (long i = 0; i < B * H; i++)
        if (!(std::fabs(h_r[i] - h_1[i]) <= 0.1)) {
          std::printf("%s, cell %d, B %ld I %ld H %ld: rounded weights are far off\n", kernels.name, (int)l.cell, B, I, H);
          return false;
        }
    }
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

} // namespace

int main(int count, char **arguments) {
  const Kernels &kernels = best_kernels();
  const int rounds = count > 1 ? std::atoi(arguments[1]) : 100;
  for (int i = 0; i < rounds; i++)
    if (!once<float>(kernels, kernels.forward_float, kernels.backward_float, kernels.lanes_float) ||
        !once<double>(kernels, kernels.forward_double, kernels.backward_double, kernels.lanes_double))
      return 1;
  std::printf("%s: %d rounds\n", kernels.name, rounds);
}
