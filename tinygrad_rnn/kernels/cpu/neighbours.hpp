// What surrounds the layers in training, each in as few passes over memory as it can be: the
// cross-entropy of logits, its cotangent, sums of rows and of squares, and Adam's step.
#pragma once

#include "math.hpp"
#include "memory.hpp"
#include "pool.hpp"
#include "training.hpp"

namespace tgrnn::LEVEL {

// work(from, to, thread) on equal parts of [0, count), in multiples of `unit`, by as many threads.
template <class Work> void in_parts(int threads, long count, long unit, Work work) {
  struct Context {
    long count, unit;
    Work &work;
  } context{count, unit, work};
  run(threads, [](void *given, Team &team, int id) {
    Context &c = *static_cast<Context *>(given);
    const long units = parts(c.count, c.unit);
    c.work(units * id / team.size * c.unit, smaller(units * (id + 1) / team.size * c.unit, c.count), id);
  }, &context);
}

// f(vector, at, how many of it) over a row; past its end the vector is -inf.
template <class T, class Function> inline void each(const T *row, long n, Function f) {
  constexpr int V = lanes<T>;
  long i = 0;
  for (; i + V <= n; i += V) f(load(row + i), i, V);
  if (i == n) return;
  Vector<T> rest = broadcast(T(-__builtin_inf()));
  memcpy(&rest, row + i, (n - i) * sizeof(T));
  f(rest, i, (int)(n - i));
}

// All lanes of a vector by an operation of two, in a tree.
template <class T, class Function> inline T folded(Vector<T> v, Function f) {
  T a[lanes<T>];
  store(a, v);
#pragma GCC unroll 4
  for (int half = lanes<T> / 2; half; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; i++) a[i] = f(a[i], a[i + half]);
  return a[0];
}

// The largest of a row; 0 where there is no finite one.
template <class T> inline T peak(const T *row, long n) {
  constexpr int chains = 4;
  Vector<T> best[chains];
  for (auto &b : best) b = broadcast(T(-__builtin_inf()));
  each(row, n, [&](Vector<T> x, long at, int) {
    Vector<T> &b = best[at / lanes<T> % chains];
    b = x > b ? x : b;
  });
  for (int i = 1; i < chains; i++) best[0] = best[i] > best[0] ? best[i] : best[0];
  const T most = folded<T>(best[0], [](T a, T b) { return a > b ? a : b; });
  return most - most == 0 ? most : T(0);
}

// The sum of exp(x - most) over a row, each term handed to `keep`, too.
template <class T, class Keep> inline T sum_exp(const T *row, long n, T most, Keep keep) {
  constexpr int chains = 4;
  Vector<T> sum[chains] = {};
  each(row, n, [&](Vector<T> x, long at, int count) {
    const Vector<T> e = exp<T>(x - most);
    keep(e, at, count);
    sum[at / lanes<T> % chains] += e;
  });
  return folded<T>((sum[0] + sum[1]) + (sum[2] + sum[3]), [](T a, T b) { return a + b; });
}

inline float log(float x) { return __builtin_logf(x); }
inline double log(double x) { return __builtin_log(x); }
inline float root(float x) { return __builtin_sqrtf(x); }
inline double root(double x) { return __builtin_sqrt(x); }

// The mean of x - most over a row.
template <class T> inline T mean(const T *row, long n, T most) {
  constexpr int V = lanes<T>, chains = 4;
  Vector<T> sum[chains] = {};
  long i = 0;
  for (; i + V <= n; i += V) sum[i / V % chains] += load(row + i) - most;
  T total = folded<T>((sum[0] + sum[1]) + (sum[2] + sum[3]), [](T a, T b) { return a + b; });
  for (; i < n; i++) total += row[i] - most;
  return total / n;
}

// A row's loss, log sum exp(x) less what x is expected to be at the target; and with weights what its
// cotangent brings, (softmax(x) - the target's distribution) * weight.
template <class T> void cross_entropy(const Logits<T> &l) {
  Scratch scratch;
  T *sums = scratch.zeros<T>(l.sums ? l.threads * l.classes : 0); // each thread's own
  in_parts(l.threads, l.rows, 1, [&](long from, long to, int id) {
    T *mine = sums + id * l.classes;
    for (long r = from; r < to; r++) {
      const T *row = l.x + r * l.classes, most = peak(row, l.classes), at = row[l.targets[r]] - most;
      const T spread = l.losses && l.smoothing ? l.smoothing * (at - mean(row, l.classes, most)) : T(0);
      T *out = l.cotangent ? l.cotangent + r * l.classes : nullptr;
      const T total = l.cotangent ? sum_exp(row, l.classes, most, [&](Vector<T> e, long i, int count) { store(out + i, e, count); })
                                  : sum_exp(row, l.classes, most, [](Vector<T>, long, int) {});
      if (l.losses) l.losses[r] = log(total) - at + spread;
      if (!l.cotangent) continue;
      const T share = l.weights[r] / total, even = l.weights[r] * l.smoothing / l.classes;
      for (long i = 0; i < l.classes; i++) out[i] = out[i] * share - even;
      out[l.targets[r]] -= l.weights[r] * (1 - l.smoothing);
      for (long i = 0; l.sums && i < l.classes; i++) mine[i] += out[i];
    }
  });
  for (long i = 0; l.sums && i < l.threads * l.classes; i++) l.sums[i % l.classes] += sums[i];
}

// Threads divide the columns, so that every sum is in the order of the rows.
template <class T> void add_rows(const RowSums<T> &s) {
  in_parts(s.threads, s.width, lanes<T>, [&](long from, long to, int) {
    for (long i = 0; i < s.count; i++) {
      T *__restrict sum = s.table + (s.ids[i] < 0 ? s.ids[i] + s.entries : s.ids[i]) * s.width;
      const T *__restrict row = s.rows + i * s.width;
      for (long j = from; j < to; j++) sum[j] += row[j];
    }
  });
}

// Blocks are summed apart, and then in their order: whatever the threads, the same sum.
template <class T> void add_squares(const Squares<T> &s) {
  constexpr long block = 1 << 14, chains = 32;
  const long blocks = parts(s.count, block);
  Scratch scratch;
  double *sums = scratch.take<double>(blocks);
  in_parts(s.threads, blocks, 1, [&](long from, long to, int) {
    for (long b = from; b < to; b++) {
      const T *x = s.x + b * block;
      const long n = smaller(block, s.count - b * block);
      double sum[chains] = {};
      long i = 0;
      for (; i + chains <= n; i += chains)
#pragma GCC unroll 32
        for (long j = 0; j < chains; j++) sum[j] += (double)x[i + j] * (double)x[i + j];
      for (long j = 0; i + j < n; j++) sum[j] += (double)x[i + j] * (double)x[i + j];
      for (long j = 1; j < chains; j++) sum[0] += sum[j];
      sums[b] = sum[0];
    }
  });
  for (long b = 0; b < blocks; b++) *s.sum += sums[b];
}

template <class T> void adam(const AdamStep<T> &a) {
  in_parts(a.threads, a.count, 64, [&](long from, long to, int) {
    T *__restrict p = a.p, *__restrict m = a.m, *__restrict v = a.v;
    const T *__restrict g = a.g;
    const T b1 = a.b1, b2 = a.b2, rest1 = a.rest1, rest2 = a.rest2, shrink = a.shrink, decay = a.decay;
    const T scale = a.scale, eps = a.eps, rate = a.rate;
    for (long i = from; i < to; i++) {
      const T slope = decay != 0 ? g[i] + decay * p[i] : g[i];  // p may be infinite
      m[i] = b1 * m[i] + rest1 * slope;
      v[i] = b2 * v[i] + rest2 * (slope * slope);
      p[i] = shrink * p[i] - rate * (m[i] / (scale * root(v[i]) + eps));
    }
  });
}

} // namespace tgrnn::LEVEL
