// Products with weights quantized to 8 bits (`QuantizedMatrix`): a step reads a quarter of the
// bytes.
//
// Activations are quantized per row to 16 bits, or to as many as cannot overflow a 32-bit sum. Sums
// are exact (intermediate ones may wrap around), so that nearly all of the error is that of the
// weights.
#pragma once

#include <new>

#include "dots.hpp"
#include "gemm.hpp"
#include "kernels.hpp"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tgrnn::LEVEL {

typedef int16_t Shorts __attribute__((vector_size(VECTOR_BYTES)));
typedef uint8_t Bytes __attribute__((vector_size(VECTOR_BYTES / 2)));
typedef uint32_t Integers __attribute__((vector_size(VECTOR_BYTES)));

// x86 has an instruction for each of these two that compilers do not generate from vector code.
inline Shorts widen(Bytes w) {
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

// Multiplies a row by four rows of weights: the sum of the lanes of sum[i] is the i-th product.
struct Int16Dot {
  static void sums(const int16_t *a, const uint8_t *const *w, long ld, Integers *sum) {
    for (long k = 0; k < ld; k += VECTOR_BYTES / 2) {
      Shorts x;
      memcpy(&x, a + k, sizeof x);
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        Bytes y;
        memcpy(&y, w[i] + k, sizeof y);
        sum[i] += pairs(x, widen(y));
      }
    }
  }
};

#if defined(__AVX512BW__)
// The same with AVX-512 VNNI, 64 products of bytes per instruction. The row is split into high and
// low bytes, a = 256 high + low, both signed.
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

// Rows of float quantized to 16 bits with one scale each, padded with zeros to whole blocks.
class QuantizedRows {
public:
  static constexpr int V = lanes<float>;

  QuantizedRows(const float *const *a, long rows, long depth)
      : ld(ceil_div(depth, kQuantizedBlock) * kQuantizedBlock) {
    if (!rows) return;
    data = static_cast<int16_t *>(
        aligned_alloc(64, rows * ld * sizeof(int16_t) + ceil_div(rows, 8) * 64));
    if (!data) throw std::bad_alloc();
    scales_of_rows = reinterpret_cast<RowScale *>(data + rows * ld);
    const float limit = (float)min(32512, (1L << 31) / (127 * depth) - 1); // 32512 is 127 * 256
    for (long r = 0; r < rows; r++) quantize(a[r], depth, limit, data + r * ld, scales_of_rows[r]);
  }
  QuantizedRows(const QuantizedRows &) = delete;
  ~QuantizedRows() { free(data); }

  // to[n] = row r . row first + n of the weights, for n < count, zero up to a vector's lanes.
  void dots(long r, const QuantizedMatrix &w, long first, int count, float *to) const {
#if defined(__AVX512BW__)
    if (vnni) return dots_with_vnni(r, w, first, count, to);
#endif
    dots_with<Int16Dot>(r, w, first, count, to);
  }

private:
  struct RowScale {
    float scale;
    int32_t total; // the sum of the integers, to correct for the 128 added to weights
  };
  const long ld;
  int16_t *data = nullptr;
  RowScale *scales_of_rows = nullptr;
#if defined(__AVX512BW__)
  const bool vnni = __builtin_cpu_supports("avx512vnni");

  WITH_VNNI void dots_with_vnni(long r, const QuantizedMatrix &w, long first, int count,
                                float *to) const {
    dots_with<Vnni>(r, w, first, count, to);
  }
#endif

  template <class Dot>
  __attribute__((always_inline)) inline void dots_with(long r, const QuantizedMatrix &w, long first,
                                                       int count, float *to) const {
    alignas(64) uint32_t sums[V] = {};
    for (int n = 0; n < count; n += 4) {
      const uint8_t *rows[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) rows[i] = w.data + (first + min(n + i, count - 1)) * ld;
      Integers sum[4] = {};
      Dot::sums(data + r * ld, rows, ld, sum);
      store_sums<float>(sum, sums + n);
    }
    Integers n;
    memcpy(&n, sums, sizeof n);
    n -= 128 * (uint32_t)scales_of_rows[r].total;
    const Vector<float> exact = __builtin_convertvector((Bits<float>)n, Vector<float>);
    store(to, exact * load(w.scales + first, count) * scales_of_rows[r].scale);
  }

  void quantize(const float *a, long depth, float limit, int16_t *to, RowScale &tail) const {
    Vector<float> magnitude = {}, not_finite = {};
    for (long k = 0; k < depth; k += V) {
      const Vector<float> x = load(a + k, (int)min(V, depth - k)), size = x < 0.0f ? -x : x;
      magnitude = size > magnitude ? size : magnitude;
      not_finite += x - x; // NaN if any element is not finite; becomes the scale
    }
    float peak = 0, wrong = 0;
    for (int i = 0; i < V; i++)
      peak = magnitude[i] > peak ? magnitude[i] : peak, wrong += not_finite[i];
    const float inverse = peak > 0 && wrong == 0 ? limit / peak : 0;
    Bits<float> total = {};
    for (long k = 0; k < ld; k += V) {
      const int count = (int)max(0, min(V, depth - k));
      constexpr float round =
          12582912.0f; // 1.5 * 2^23: adding it leaves an integer in the low bits
      const Vector<float> x = count ? load(a + k, count) : Vector<float>{};
      const Bits<float> n =
          (Bits<float>)(x * inverse + round) - (Bits<float>)broadcast<float>(round);
      total += n;
#if defined(__AVX512BW__)
      if (vnni) {
        const Bits<float> high = (n + 128) >> 8;
        store_narrow(reinterpret_cast<int8_t *>(to) + k, high),
            store_narrow(reinterpret_cast<int8_t *>(to) + ld + k, n - high * 256);
        continue;
      }
#endif
      store_narrow(to + k, n);
    }
    int32_t sum = 0;
    for (int i = 0; i < V; i++) sum += total[i];
    tail = {peak / limit + wrong, sum};
  }

  template <class Integer> static void store_narrow(Integer *to, Bits<float> n) {
    typedef Integer Narrow __attribute__((vector_size(V * sizeof(Integer))));
    const Narrow narrow = __builtin_convertvector(n, Narrow);
    memcpy(to, &narrow, sizeof narrow);
  }
};

} // namespace tgrnn::LEVEL
