// A whole sequence in one launch. Before this source stand recurrent.cu and: HT, BT, GATES, STEP, STEP_BACK.
//
// A block owns HT hidden units of BT rows, and keeps their weights in shared memory. Rows are independent: the
// blocks of the same rows (blockIdx.y) are a group, which waits for each other once a step. All blocks must be
// resident at a time: a cooperative launch.

#define THREADS 256
#define CHUNK 32  // terms of a product that are staged in shared memory at a time

// Waits until all blocks of the group have arrived as often as this one.
__device__ void wait_for_group(unsigned* arrived, unsigned times) {
  __syncthreads();
  if (!threadIdx.x) {
    __threadfence();  // what the block wrote is seen before its arrival
    atomicAdd(arrived, 1u);
    while (*(volatile unsigned*)arrived < times) __nanosleep(32);
    __threadfence();
  }
  __syncthreads();
}

// sums[r]: element threadIdx.x + r * THREADS of the product (BT, N) of the rows with the weights (K, N). Rows that
// other blocks have written are read past the first cache, which does not see them.
template <int N>
__device__ void product(const Sequence& s, const Real* const* rows, const Real* weights, Real* stage, int K,
                        Real* sums) {
  constexpr int EACH = (BT * N + THREADS - 1) / THREADS;
  for (int r = 0; r < EACH; r++) sums[r] = 0;
  for (int first = 0; first < K; first += CHUNK) {
    __syncthreads();  // the stage may still be read
    for (int i = threadIdx.x; i < CHUNK * BT; i += THREADS) {
      const int b = i / CHUNK, k = first + i % CHUNK;
      stage[(i % CHUNK) * BT + b] = rows[b] && k < K ? __ldcg(rows[b] + k) : Real(0);
    }
    __syncthreads();
    const int many = K - first < CHUNK ? K - first : CHUNK;
    for (int k = 0; k < many; k++)
      for (int r = 0; r < EACH; r++) {
        const int o = threadIdx.x + r * THREADS;
        if (o < BT * N) sums[r] += stage[k * BT + o / N] * weights[(first + k) * N + o % N];
      }
  }
}

#define EACH_OF_BLOCK(DO)                                                      \
  for (int i = threadIdx.x; i < BT * HT; i += THREADS) {                       \
    const int b = blockIdx.y * BT + i / HT, u = blockIdx.x * HT + i % HT;      \
    if (b < s.B && u < s.H) DO;                                                \
  }

extern "C" __global__ void __launch_bounds__(THREADS, 1) forward(const Sequence s, unsigned* arrived) {
  constexpr int N = GATES * HT, EACH = (BT * N + THREADS - 1) / THREADS;
  extern __shared__ Real shared[];
  __shared__ const Real* rows[BT];
  Real *const weights = shared, *const stage = shared + s.H * N;
  const int first_unit = blockIdx.x * HT, first_row = blockIdx.y * BT;
  for (int i = threadIdx.x; i < s.H * N; i += THREADS) {
    const int k = i % s.H, j = i / s.H, u = first_unit + j % HT;
    weights[k * N + j] = u < s.H ? s.w_hh[((size_t)(j / HT) * s.H + u) * s.H + k] : Real(0);
  }
  for (int n = 0; n < s.T; n++) {
    for (int i = threadIdx.x; i < BT; i += THREADS) {
      const int b = first_row + i;
      const Real* const m = s.ms ? s.ms + row_of(s, n, b) * s.H : s.hs + state_of(s, n, b) * s.H;
      rows[i] = b < s.B ? m : nullptr;
    }
    __syncthreads();
    Real sums[EACH];
    product<N>(s, rows, weights, stage, s.H, sums);
    for (int r = 0; r < EACH; r++) {
      const int o = threadIdx.x + r * THREADS, b = first_row + o / N, u = first_unit + o % N % HT;
      if (o >= BT * N || b >= s.B || u >= s.H) continue;
      const int column = o % N / HT * s.H + u;
      if (SEPARATE)
        s.part[(size_t)b * GATES * s.H + column] = sums[r];
      else
        s.gates[row_of(s, n, b) * GATES * s.H + column] += sums[r];
    }
    __syncthreads();  // another thread of the block has computed some of an element's gates
    EACH_OF_BLOCK(STEP(s, n, b, u))
    wait_for_group(arrived + blockIdx.y, gridDim.x * (n + 1));
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) backward(const Sequence s, unsigned* arrived) {
  constexpr int EACH = (BT * HT + THREADS - 1) / THREADS;
  extern __shared__ Real shared[];
  __shared__ const Real* rows[BT];
  const int K = GATES * s.H, first_unit = blockIdx.x * HT, first_row = blockIdx.y * BT;
  Real *const weights = shared, *const stage = shared + K * HT;
  const Real* const dz = SEPARATE ? s.dz_rec : s.dz;
  for (int i = threadIdx.x; i < K * HT; i += THREADS) {
    const int u = first_unit + i % HT;
    weights[i] = u < s.H ? s.w_hh[(size_t)(i / HT) * s.H + u] : Real(0);
  }
  for (int n = s.T; n--;) {
    EACH_OF_BLOCK(STEP_BACK(s, n, b, u))
    for (int i = threadIdx.x; i < BT; i += THREADS)
      rows[i] = first_row + i < s.B ? dz + row_of(s, n, first_row + i) * K : nullptr;
    wait_for_group(arrived + blockIdx.y, gridDim.x * (s.T - n));
    Real sums[EACH];
    product<HT>(s, rows, weights, stage, K, sums);
    for (int r = 0; r < EACH; r++) {  // the thread that reads dm in the step before
      const int o = threadIdx.x + r * THREADS, b = first_row + o / HT, u = first_unit + o % HT;
      if (o < BT * HT && b < s.B && u < s.H) s.dm[(size_t)b * s.H + u] = sums[r];
    }
  }
}
