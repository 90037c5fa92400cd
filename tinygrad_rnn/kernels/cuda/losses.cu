// Cross-entropy of rows of logits. Before this source stand: typedef ... Real; typedef ... Id;

#define THREADS 256

// The sum, or the maximum, over the block's threads, in a fixed order.
__device__ Real over_block(Real x, Real* shared, bool maximum) {
  __syncthreads();  // the threads may still read an earlier result
  shared[threadIdx.x] = x;
  __syncthreads();
  for (int k = THREADS / 2; k; k /= 2) {
    if (threadIdx.x < k) {
      const Real a = shared[threadIdx.x], b = shared[threadIdx.x + k];
      shared[threadIdx.x] = maximum ? (a > b ? a : b) : a + b;
    }
    __syncthreads();
  }
  return shared[0];
}

#define EACH for (long long c = threadIdx.x; c < classes; c += THREADS)

// A block for each row. losses and gradient may be null, and gradient may be x: see kernels.cross_entropy_gradient.
extern "C" __global__ void cross_entropy(const Real* x, const Id* targets, const Real* weights, const bool* counts,
                                         Real smoothing, Real* losses, Real* gradient, long long classes) {
  __shared__ Real shared[THREADS];
  const long long row = blockIdx.x, target = targets[row];
  x += row * classes;
  if (gradient) gradient += row * classes;
  if (counts && !counts[row]) {
    if (losses && !threadIdx.x) losses[row] = 0;
    if (gradient) EACH gradient[c] = 0;
    return;
  }
  Real peak = -Real(1) / Real(0);
  EACH peak = x[c] > peak ? x[c] : peak;
  peak = over_block(peak, shared, true);
  if (!(peak - peak == 0)) peak = 0;  // a row of -inf, or one with inf
  Real sum = 0, mean = 0;
  EACH {
    sum += exp(x[c] - peak);
    mean += (x[c] - peak) / classes;
  }
  sum = over_block(sum, shared, false);
  if (losses && smoothing) mean = over_block(mean, shared, false);
  if (losses && !threadIdx.x) {
    const Real at = target >= 0 && target < classes ? x[target] - peak : Real(0);
    const Real loss = log(sum) - at;
    losses[row] = smoothing ? loss + smoothing * (at - mean) : loss;
  }
  if (!gradient) return;
  __syncthreads();  // x[target] may be overwritten
  const Real weight = weights[row], scale = weight / sum, spread = weight * (smoothing / classes);
  EACH {
    const Real d = exp(x[c] - peak) * scale - spread;
    gradient[c] = c == target ? d - (1 - smoothing) * weight : d;
  }
}

// One block. losses that are not finite become 0 where their weight is; total: the sum of weights * losses.
extern "C" __global__ void weighted_sum(const Real* weights, Real* losses, Real* total, long long rows) {
  __shared__ Real shared[THREADS];
  Real sum = 0;
  for (long long i = threadIdx.x; i < rows; i += THREADS) {
    const Real weight = weights[i];
    if (weight == 0 && !(losses[i] - losses[i] == 0)) losses[i] = 0;
    sum += weight * losses[i];
  }
  sum = over_block(sum, shared, false);
  if (!threadIdx.x) *total = sum;
}
