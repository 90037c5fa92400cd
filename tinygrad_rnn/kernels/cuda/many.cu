// Training kernels over many tensors in one launch. Before this source stands: typedef ... Real;
//
// A table has a line for each tensor: the first block of it, its elements, and its arrays' addresses. A
// block takes CHUNK elements of one tensor.

#define CHUNK 4096
#define THREADS 256

// The line of this block's tensor.
__device__ const long long* line_of(const long long* table, int lines, int width) {
  int low = 0, high = lines - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (table[middle * width] <= blockIdx.x)
      low = middle;
    else
      high = middle - 1;
  }
  return table + low * width;
}

#define EACH(I)                                                                 \
  const long long begin = (blockIdx.x - line[0]) * CHUNK;                       \
  const long long end = begin + CHUNK < line[1] ? begin + CHUNK : line[1];      \
  for (long long I = begin + threadIdx.x; I < end; I += THREADS)

// The sum over the block's threads, in a fixed order; only thread 0 has it.
__device__ double block_sum(double x, double* shared) {
  shared[threadIdx.x] = x;
  __syncthreads();
  for (int k = THREADS / 2; k; k /= 2) {
    if (threadIdx.x < k) shared[threadIdx.x] += shared[threadIdx.x + k];
    __syncthreads();
  }
  return shared[0];
}

// Lines (first, n, g, out). In double: squares of float overflow where the root of their sum does not.
extern "C" __global__ void sum_squares(const long long* table, int lines, double* sums) {
  __shared__ double shared[THREADS];
  const long long* line = line_of(table, lines, 4);
  const Real* g = (const Real*)line[2];
  double sum = 0;
  EACH(i) sum += (double)g[i] * g[i];
  sum = block_sum(sum, shared);
  if (!threadIdx.x) sums[blockIdx.x] = sum;
}

// One block. found = (norm, factor): the factor that brings the norm down to most, or 1.
extern "C" __global__ void norm_factor(const double* sums, long long n, double most, double* found) {
  __shared__ double shared[THREADS];
  double sum = 0;
  for (long long i = threadIdx.x; i < n; i += THREADS) sum += sums[i];
  sum = block_sum(sum, shared);
  if (threadIdx.x) return;
  const double norm = sqrt(sum);
  found[0] = norm;
  found[1] = norm > most && norm - norm == 0 ? most / norm : 1;  // infinite and NaN: 1
}

// Lines (first, n, g, out).
extern "C" __global__ void scale(const long long* table, int lines, const double* found) {
  const long long* line = line_of(table, lines, 4);
  const Real *g = (const Real*)line[2], factor = found[1];
  Real* out = (Real*)line[3];
  EACH(i) out[i] = g[i] * factor;
}

// The gradient with weight decay, of parameters that may be infinite.
#define DECAYED(I) (decay ? g[I] + decay * p[I] : g[I])

// Lines (first, n, p, g, v); v is 0 without momentum. See optim.SGD.
extern "C" __global__ void sgd(const long long* table, int lines, Real lr, Real momentum, Real decay,
                               int nesterov) {
  const long long* line = line_of(table, lines, 5);
  Real *p = (Real*)line[2], *v = (Real*)line[4];
  const Real* g = (const Real*)line[3];
  EACH(i) {
    Real step = DECAYED(i);
    if (v) {
      const Real vi = v[i] = v[i] * momentum + step;
      step = nesterov ? step + momentum * vi : vi;
    }
    p[i] -= lr * step;
  }
}

// Lines (first, n, p, g, s, v); v is 0 without momentum. See optim.RMSprop.
extern "C" __global__ void rmsprop(const long long* table, int lines, Real lr, Real alpha, Real rest, Real eps,
                                   Real momentum, Real decay) {
  const long long* line = line_of(table, lines, 6);
  Real *p = (Real*)line[2], *s = (Real*)line[4], *v = (Real*)line[5];
  const Real* g = (const Real*)line[3];
  EACH(i) {
    const Real gi = DECAYED(i);
    const Real si = s[i] = s[i] * alpha + rest * (gi * gi);
    Real step = gi / (sqrt(si) + eps);
    if (v) step = v[i] = v[i] * momentum + step;
    p[i] -= lr * step;
  }
}

// Lines (first, n, p, g, m, v). See kernels.adam.
extern "C" __global__ void adam(const long long* table, int lines, Real b1, Real b2, Real rest1, Real rest2,
                                Real shrink, Real decay, Real scale, Real eps, Real rate) {
  const long long* line = line_of(table, lines, 6);
  Real *p = (Real*)line[2], *m = (Real*)line[4], *v = (Real*)line[5];
  const Real* g = (const Real*)line[3];
  EACH(i) {
    const Real gi = DECAYED(i);
    const Real mi = m[i] = m[i] * b1 + gi * rest1;
    const Real vi = v[i] = v[i] * b2 + gi * gi * rest2;
    p[i] = p[i] * shrink - mi / (sqrt(vi) * scale + eps) * rate;
  }
}
