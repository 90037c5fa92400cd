// Training kernels, each in as few passes over memory as possible: cross-entropy and its gradient,
// sums of rows (the gradient of an embedding), the sum of squares, and a step of Adam.
//
// Results do not depend on the number of threads, except `Logits::sums`.
#pragma once

#include "kernels.hpp"
#include "math.hpp"
#include "pool.hpp"
#include "scratch.hpp"

namespace tgrnn::LEVEL {

// Calls work(from, to, thread) on every thread for equal parts of [0, count), in multiples of
// `unit`.
template <class Work> void parallel_for(int threads, long count, long unit, Work work) {
  struct Context {
    long count, unit;
    Work &work;
  } context{count, unit, work};
  run(
      threads,
      [](void *arguments_of, Team &team, int id) {
        Context &c = *static_cast<Context *>(arguments_of);
        const long zero_padding = ceil_div(c.count, c.unit);
        c.work(zero_padding * id / team.size * c.unit,
               min(zero_padding * (id + 1) / team.size * c.unit, c.count), id);
      },
      &context);
}

// Calls f(vector, index, count) along a row; lanes past its end are -inf.
template <class T, class Function> inline void for_each_vector(const T *row, long n, Function f) {
  constexpr int V = lanes<T>;
  long i = 0;
  for (; i + V <= n; i += V) f(load(row + i), i, V);
  if (i == n) return;
  Vector<T> rest = broadcast(T(-__builtin_inf()));
  memcpy(&rest, row + i, (n - i) * sizeof(T));
  f(rest, i, (int)(n - i));
}

// Reduces the lanes of a vector pairwise.
template <class T, class Function> inline T reduce(Vector<T> v, Function f) {
  T a[lanes<T>];
  store(a, v);
#pragma GCC unroll 4
  for (int half = lanes<T> / 2; half; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; i++) a[i] = f(a[i], a[i + half]);
  return a[0];
}

// The maximum of a row; 0 if it is not finite.
template <class T> inline T row_max(const T *row, long n) {
  constexpr int kAccumulators = 4;
  Vector<T> best[kAccumulators];
  for (auto &b : best) b = broadcast(T(-__builtin_inf()));
  for_each_vector(row, n, [&](Vector<T> x, long at, int) {
    Vector<T> &b = best[at / lanes<T> % kAccumulators];
    b = x > b ? x : b;
  });
  for (int i = 1; i < kAccumulators; i++) best[0] = best[i] > best[0] ? best[i] : best[0];
  const T largest = reduce<T>(best[0], [](T a, T b) { return a > b ? a : b; });
  return largest - largest == 0 ? largest : T(0);
}

// The sum of exp(x - largest) over a row. Calls each_term(vector, index, count), too.
template <class T, class EachTerm>
inline T sum_exp(const T *row, long n, T largest, EachTerm each_term) {
  constexpr int kAccumulators = 4;
  Vector<T> sum[kAccumulators] = {};
  for_each_vector(row, n, [&](Vector<T> x, long at, int count) {
    const Vector<T> e = exp<T>(x - largest);
    each_term(e, at, count);
    sum[at / lanes<T> % kAccumulators] += e;
  });
  return reduce<T>((sum[0] + sum[1]) + (sum[2] + sum[3]), [](T a, T b) { return a + b; });
}

inline float log(float x) { return __builtin_logf(x); }
inline double log(double x) { return __builtin_log(x); }
inline float sqrt(float x) { return __builtin_sqrtf(x); }
inline double sqrt(double x) { return __builtin_sqrt(x); }

// The mean of x - largest over a row.
template <class T> inline T mean(const T *row, long n, T largest) {
  constexpr int V = lanes<T>, kAccumulators = 4;
  Vector<T> sum[kAccumulators] = {};
  long i = 0;
  for (; i + V <= n; i += V) sum[i / V % kAccumulators] += load(row + i) - largest;
  T total = reduce<T>((sum[0] + sum[1]) + (sum[2] + sum[3]), [](T a, T b) { return a + b; });
  for (; i < n; i++) total += row[i] - largest;
  return total / n;
}

// The loss of each row, log sum exp(x) minus the expectation of x under the smoothed target, and
// its gradient times its weight, (softmax(x) - smoothed target) * weight.
template <class T> void cross_entropy(const Logits<T> &l) {
  Scratch scratch;
  T *sums = scratch.zeros<T>(l.sums ? l.threads * l.classes : 0); // per thread
  parallel_for(l.threads, l.rows, 1, [&](long from, long to, int id) {
    T *thread_sums = sums + id * l.classes;
    for (long r = from; r < to; r++) {
      const T *row = l.x + r * l.classes, largest = row_max(row, l.classes),
              at = row[l.targets[r]] - largest;
      const T smoothed =
          l.losses && l.smoothing ? l.smoothing * (at - mean(row, l.classes, largest)) : T(0);
      T *out = l.gradient ? l.gradient + r * l.classes : nullptr;
      const T total =
          l.gradient ? sum_exp(row, l.classes, largest,
                               [&](Vector<T> e, long i, int count) { store(out + i, e, count); })
                     : sum_exp(row, l.classes, largest, [](Vector<T>, long, int) {});
      if (l.losses) l.losses[r] = log(total) - at + smoothed;
      if (!l.gradient) continue;
      const T scale = l.weights[r] / total;
      const T uniform = l.smoothing ? l.weights[r] * l.smoothing / l.classes : T(0);
      for (long i = 0; i < l.classes; i++) out[i] = out[i] * scale - uniform;
      out[l.targets[r]] -= l.weights[r] * (1 - l.smoothing);
      for (long i = 0; l.sums && i < l.classes; i++) thread_sums[i] += out[i];
    }
  });
  for (long i = 0; l.sums && i < l.threads * l.classes; i++) l.sums[i % l.classes] += sums[i];
}

// Threads split the columns, so that every sum is in the order of the rows.
template <class T> void add_rows(const RowSums<T> &s) {
  parallel_for(s.threads, s.width, lanes<T>, [&](long from, long to, int) {
    for (long i = 0; i < s.count; i++) {
      T *__restrict sum = s.table + (s.ids[i] < 0 ? s.ids[i] + s.entries : s.ids[i]) * s.width;
      const T *__restrict row = s.rows + i * s.width;
      for (long j = from; j < to; j++) sum[j] += row[j];
    }
  });
}

// Sums blocks, then their sums in order: the result does not depend on the number of threads.
template <class T> void add_squares(const Squares<T> &s) {
  constexpr long block = 1 << 14, kAccumulators = 32;
  const long blocks = ceil_div(s.count, block);
  Scratch scratch;
  double *sums = scratch.take<double>(blocks);
  parallel_for(s.threads, blocks, 1, [&](long from, long to, int) {
    for (long b = from; b < to; b++) {
      const T *x = s.x + b * block;
      const long n = min(block, s.count - b * block);
      double sum[kAccumulators] = {};
      long i = 0;
      for (; i + kAccumulators <= n; i += kAccumulators)
#pragma GCC unroll 32
        for (long j = 0; j < kAccumulators; j++) sum[j] += (double)x[i + j] * (double)x[i + j];
      for (long j = 0; i + j < n; j++) sum[j] += (double)x[i + j] * (double)x[i + j];
      for (long j = 1; j < kAccumulators; j++) sum[0] += sum[j];
      sums[b] = sum[0];
    }
  });
  for (long b = 0; b < blocks; b++) *s.sum += sums[b];
}

// One step for elements [from, to). Without weight decay p is not read, as it may be infinite.
template <class T, bool Decays> void adam_range(const AdamStep<T> &a, long from, long to) {
  T *__restrict p = a.p, *__restrict m = a.m, *__restrict v = a.v;
  const T *__restrict g = a.g;
  const T b1 = a.b1, b2 = a.b2, one_minus_b1 = a.one_minus_b1, one_minus_b2 = a.one_minus_b2;
  const T shrink = a.shrink, decay = a.decay, scale = a.scale, eps = a.eps, rate = a.rate;
  for (long i = from; i < to; i++) {
    const T grad = Decays ? g[i] + decay * p[i] : g[i];
    m[i] = b1 * m[i] + one_minus_b1 * grad;
    v[i] = b2 * v[i] + one_minus_b2 * (grad * grad);
    p[i] = shrink * p[i] - rate * (m[i] / (scale * sqrt(v[i]) + eps));
  }
}

template <class T> void adam(const AdamStep<T> &a) {
  parallel_for(a.threads, a.count, 64, [&](long from, long to, int) {
    a.decay != 0 ? adam_range<T, true>(a, from, to) : adam_range<T, false>(a, from, to);
  });
}

} // namespace tgrnn::LEVEL
