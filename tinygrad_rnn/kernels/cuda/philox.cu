// See kernels/philox.py. Before this source stands: typedef ... Out; (bool: words of at least `least`)

extern "C" __global__ void philox(Out* out, long long count, unsigned long long key,
                                  unsigned long long call, unsigned long long first, unsigned least) {
  const long long block = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (block * 4 >= count) return;
  const unsigned long long counter = first + block;
  unsigned x[4] = {(unsigned)counter, (unsigned)(counter >> 32), (unsigned)call, (unsigned)(call >> 32)};
  unsigned k0 = (unsigned)key, k1 = (unsigned)(key >> 32);
  for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    const unsigned high0 = __umulhi(x[0], 0xD2511F53u), low0 = x[0] * 0xD2511F53u;
    const unsigned high1 = __umulhi(x[2], 0xCD9E8D57u), low1 = x[2] * 0xCD9E8D57u;
    x[0] = high1 ^ x[1] ^ k0, x[1] = low1;
    x[2] = high0 ^ x[3] ^ k1, x[3] = low0;
  }
  for (int i = 0; i < 4; i++)
    if (block * 4 + i < count) out[block * 4 + i] = sizeof(Out) == 1 ? x[i] >= least : x[i];
}
