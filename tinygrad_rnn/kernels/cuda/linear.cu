// h_t = a_t h_{t-1} + b_t: a thread for each element of h. Before this source stands: typedef ... Real;

extern "C" __global__ void linear_recurrence(const Real* a, const Real* b, const Real* h0, Real* y,
                                             long long steps, long long size, bool reverse) {
  const long long j = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (j >= size) return;
  Real h = h0[j];
  for (long long t = 0; t < steps; t++) {
    const long long at = (reverse ? steps - 1 - t : t) * size + j;
    y[at] = h = a[at] * h + b[at];
  }
}
