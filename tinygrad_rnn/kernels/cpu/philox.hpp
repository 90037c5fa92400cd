// Random bits from a counter: Philox4x32-10 (Salmon et al. 2011), which NumPy and CUDA code compute
// too (kernels/philox.py), with the same bits.
//
// Word i is word i % 4 of the block whose counter is (first + i / 4, call), each of 64 bits.
#pragma once

#include "kernels.hpp"
#include "pool.hpp"

#include <algorithm>
#include <cstring>

namespace tgrnn::LEVEL {

const int BLOCKS = 32; // computed side by side, in vectors

inline void philox_blocks(uint64_t key, uint64_t call, uint64_t counter, uint32_t (*x)[BLOCKS]) {
  for (int i = 0; i < BLOCKS; i++) {
    const uint64_t low = counter + i;
    x[0][i] = uint32_t(low), x[1][i] = uint32_t(low >> 32);
    x[2][i] = uint32_t(call), x[3][i] = uint32_t(call >> 32);
  }
  uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
  for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
    for (int i = 0; i < BLOCKS; i++) {
      const uint64_t a = uint64_t(x[0][i]) * 0xD2511F53u, b = uint64_t(x[2][i]) * 0xCD9E8D57u;
      x[0][i] = uint32_t(b >> 32) ^ x[1][i] ^ k0, x[1][i] = uint32_t(b);
      x[2][i] = uint32_t(a >> 32) ^ x[3][i] ^ k1, x[3][i] = uint32_t(a);
    }
}

inline void philox(const Philox &p) {
  const long blocks = (p.count + 3) / 4, runs = (blocks + BLOCKS - 1) / BLOCKS;
  auto body = [&](const Team &team, int id) {
    uint32_t x[4][BLOCKS], bytes[BLOCKS];
    for (long run = runs * id / team.size; run < runs * (id + 1) / team.size; run++) {
      const long done = run * BLOCKS * 4, count = std::min(p.count - done, 4L * BLOCKS);
      philox_blocks(p.key, p.call, p.first + run * BLOCKS, x);
      if (p.words) {
        for (long i = 0; i < count; i++) p.words[done + i] = x[i % 4][i / 4];
        continue;
      }
      const uint32_t least = p.least;
      for (int i = 0; i < BLOCKS; i++) // the first byte in memory is the lowest
        bytes[i] = uint32_t(x[0][i] >= least) | uint32_t(x[1][i] >= least) << 8 |
                   uint32_t(x[2][i] >= least) << 16 | uint32_t(x[3][i] >= least) << 24;
      std::memcpy(p.mask + done, bytes, count);
    }
  };
  run(
      p.threads,
      [](void *context, Team &team, int id) {
        (*static_cast<decltype(body) *>(context))(team, id);
      },
      &body);
}

} // namespace tgrnn::LEVEL
