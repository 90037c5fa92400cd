// Rows of tables. Before this source stand: typedef ... Real; typedef ... Id;

#define PARTS 8  // blockDim is (32, PARTS): columns, and interleaved partial sums of a run

// table[id] += the sum of the rows with that id. ids are sorted by a stable sort, and each run of equal
// ones is added by one block, in an order that depends on nothing else: the same bits each time.
extern "C" __global__ void add_rows(const long long* order, const long long* sorted, const Real* rows,
                                    Real* table, long long n, long long columns) {
  __shared__ Real sums[PARTS][32];
  const long long first = blockIdx.x, id = sorted[first];
  if (first && sorted[first - 1] == id) return;  // the whole block: another has this run
  for (long long from = blockIdx.y * 32ll; from < columns; from += gridDim.y * 32ll) {
    const long long column = from + threadIdx.x;
    Real sum = 0;
    if (column < columns)
      for (long long i = first + threadIdx.y; i < n && sorted[i] == id; i += PARTS)
        sum += rows[order[i] * columns + column];
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (!threadIdx.y && column < columns) {
      for (int p = 1; p < PARTS; p++) sum += sums[p][threadIdx.x];
      table[id * columns + column] += sum;
    }
    __syncthreads();
  }
}

// Notes (code, number) of an id outside of low to high in found, unless one is noted there.
extern "C" __global__ void refuse_outside(const Id* ids, long long n, long long low, long long high,
                                          unsigned long long code, unsigned long long* found) {
  const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (i >= n) return;
  const long long id = ids[i];
  if (id >= low && id <= high) return;
  if (atomicCAS(&found[0], 0ull, code) == 0) found[1] = (unsigned long long)id;
}
