// Products with weights rounded to 8 bits: a quarter of the bytes that a step has to read.
//
// A row of weights is whole numbers times a scale; 128 is added to each, which makes them unsigned.
// A row that meets them is rounded once to 16 bits, or as many as cannot overflow: so sums are
// exact (on the way there integers may wrap round), and what is lost is lost in the weights.
#pragma once

#include <new>

#include "dots.hpp"
#include "layer.hpp"
#include "product.hpp"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tgrnn::LEVEL {

typedef int16_t Shorts __attribute__((vector_size(VECTOR_BYTES)));
typedef uint8_t Bytes __attribute__((vector_size(VECTOR_BYTES / 2)));
typedef uint32_t Integers __attribute__((vector_size(VECTOR_BYTES)));

// Neither of these two is what compilers make of vectors in general; x86 has an instruction for each.
inline Shorts widened(Bytes w) {
#if defined(__AVX512BW__)
  return (Shorts)_mm512_cvtepu8_epi16((__m256i)w);
#elif defined(__AVX2__)
  return (Shorts)_mm256_cvtepu8_epi16((__m128i)w);
#else
  return __builtin_convertvector(w, Shorts);
#endif
}

// a[2 i] b[2 i] + a[2 i + 1] b[2 i + 1]
inline Integers pairs(Shorts a, Shorts b) {
#if defined(__AVX512BW__)
  return (Integers)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (Integers)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (Integers)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
  const Bits<float> x = (Bits<float>)a, y = (Bits<float>)b; // little-endian
  return (Integers)((x << 16 >> 16) * (y << 16 >> 16) + (x >> 16) * (y >> 16));
#endif
}

// What multiplies a row by four rows of weights: lanes whose sums are the four products.
struct Plainly {
  static void sums(const int16_t *a, const uint8_t *const *w, long ld, Integers *sum) {
    for (long k = 0; k < ld; k += VECTOR_BYTES / 2) {
      Shorts x;
      memcpy(&x, a + k, sizeof x);
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        Bytes y;
        memcpy(&y, w[i] + k, sizeof y);
        sum[i] += pairs(x, widened(y));
      }
    }
  }
};

#if defined(__AVX512BW__)
// With AVX-512's instructions for neural networks, which not all of its CPUs have: 64 products of
// bytes at once. The row lies in high bytes, 256 each, and low ones, both signed.
#define WITH_VNNI __attribute__((target("avx512vnni")))
struct Vnni {
  WITH_VNNI static void sums(const int16_t *a, const uint8_t *const *w, long ld, Integers *sum) {
    const char *high = reinterpret_cast<const char *>(a), *low = high + ld;
    __m512i highs[4] = {}, lows[4] = {};
    for (long k = 0; k < ld; k += 64) {
      const __m512i h = _mm512_loadu_si512(high + k), l = _mm512_loadu_si512(low + k);
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        const __m512i y = _mm512_loadu_si512(w[i] + k);
        highs[i] = _mm512_dpbusd_epi32(highs[i], y, h);
        lows[i] = _mm512_dpbusd_epi32(lows[i], y, l);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) sum[i] = ((Integers)highs[i] << 8) + (Integers)lows[i];
  }
};
#endif


// Rows of floats as whole numbers times a scale each, filled up with zeros to whole blocks.
class RoundedRows {
public:
  static constexpr int V = lanes<float>;

  RoundedRows(const float *const *a, long rows, long depth) : ld(parts(depth, rounded_block) * rounded_block) {
    if (!rows) return;
    data = static_cast<int16_t *>(aligned_alloc(64, rows * ld * sizeof(int16_t) + parts(rows, 8) * 64));
    if (!data) throw std::bad_alloc();
    tails = reinterpret_cast<Tail *>(data + rows * ld);
    const float most = (float)smaller(32512, (1L << 31) / (127 * depth) - 1); // 32512 is 127 * 256
    for (long r = 0; r < rows; r++) take(a[r], depth, most, data + r * ld, tails[r]);
  }
  RoundedRows(const RoundedRows &) = delete;
  ~RoundedRows() { free(data); }

  // to[n] = row r . the row first + n of the weights, for n < count, zero up to a vector's lanes.
  void dots(long r, const Rounded &w, long first, int count, float *to) const {
#if defined(__AVX512BW__)
    if (vnni) return dots_with_vnni(r, w, first, count, to);
#endif
    dots_with<Plainly>(r, w, first, count, to);
  }

private:
  struct Tail {
    float scale;
    int32_t total; // of the whole numbers
  };
  const long ld;
  int16_t *data = nullptr;
  Tail *tails = nullptr;
#if defined(__AVX512BW__)
  const bool vnni = __builtin_cpu_supports("avx512vnni");

  WITH_VNNI void dots_with_vnni(long r, const Rounded &w, long first, int count, float *to) const {
    dots_with<Vnni>(r, w, first, count, to);
  }
#endif

  template <class How>
  __attribute__((always_inline)) inline void dots_with(long r, const Rounded &w, long first, int count, float *to) const {
    alignas(64) uint32_t sums[V] = {};
    for (int n = 0; n < count; n += 4) {
      const uint8_t *rows[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) rows[i] = w.data + (first + smaller(n + i, count - 1)) * ld;
      Integers sum[4] = {};
      How::sums(data + r * ld, rows, ld, sum);
      set_down<float>(sum, sums + n);
    }
    Integers n;
    memcpy(&n, sums, sizeof n);
    n -= 128 * (uint32_t)tails[r].total;
    const Vector<float> exact = __builtin_convertvector((Bits<float>)n, Vector<float>);
    store(to, exact * load(w.scales + first, count) * tails[r].scale);
  }

  void take(const float *a, long depth, float most, int16_t *to, Tail &tail) const {
    Vector<float> largest = {}, odd = {};
    for (long k = 0; k < depth; k += V) {
      const Vector<float> x = load(a + k, (int)smaller(V, depth - k)), size = x < 0.0f ? -x : x;
      largest = size > largest ? size : largest;
      odd += x - x; // what is not finite leaves a NaN, which becomes the scale
    }
    float peak = 0, wrong = 0;
    for (int i = 0; i < V; i++) peak = largest[i] > peak ? largest[i] : peak, wrong += odd[i];
    const float up = peak > 0 && wrong == 0 ? most / peak : 0;
    Bits<float> total = {};
    for (long k = 0; k < ld; k += V) {
      const int some = (int)larger(0, smaller(V, depth - k));
      constexpr float round = 12582912.0f; // 1.5 * 2^23: adding it leaves a whole number in the low bits
      const Vector<float> x = some ? load(a + k, some) : Vector<float>{};
      const Bits<float> n = (Bits<float>)(x * up + round) - (Bits<float>)broadcast<float>(round);
      total += n;
#if defined(__AVX512BW__)
      if (vnni) {
        const Bits<float> high = (n + 128) >> 8;
        lay(reinterpret_cast<int8_t *>(to) + k, high), lay(reinterpret_cast<int8_t *>(to) + ld + k, n - high * 256);
        continue;
      }
#endif
      lay(to + k, n);
    }
    int32_t sum = 0;
    for (int i = 0; i < V; i++) sum += total[i];
    tail = {peak / most + wrong, sum};
  }

  template <class Integer> static void lay(Integer *to, Bits<float> n) {
    typedef Integer Narrow __attribute__((vector_size(V * sizeof(Integer))));
    const Narrow narrow = __builtin_convertvector(n, Narrow);
    memcpy(to, &narrow, sizeof narrow);
  }
};

} // namespace tgrnn::LEVEL
