// What NVRTC gives a kernel's source, for g++: included before every kernel, as a precompiled
// header.
#include <stddef.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static __attribute__((section("cuda_shared")))

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline double2 make_double2(double x, double y) { return {x, y}; }

extern "C" {
extern uint3 thread_index, block_index;
extern dim3 block_size, grid_size;
void block_barrier();
void warp_barrier();
void spin();
void *dynamic_shared();
unsigned long shuffle(unsigned long value, int n, int mode);
}
#define threadIdx thread_index
#define blockIdx block_index
#define blockDim block_size
#define gridDim grid_size
#define warpSize 32

static inline void __syncthreads() { block_barrier(); }
static inline void __syncwarp(unsigned = ~0u) { warp_barrier(); }
template <class T> static inline T __ldcg(const T *p) { return *p; }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __nanosleep(unsigned) { spin(); } // a loop that waits for another block calls it

template <class T> static inline T shuffled(T value, int n, int mode) {
  static_assert(sizeof(T) <= 8);
  unsigned long bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = shuffle(bits, n, mode);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}
#define __shfl_xor_sync(mask, value, n, ...) shuffled(value, n, 0)
#define __shfl_down_sync(mask, value, n, ...) shuffled(value, n, 1)
#define __shfl_up_sync(mask, value, n, ...) shuffled(value, n, 2)
#define __shfl_sync(mask, value, n, ...) shuffled(value, n, 3)

// No fiber is interrupted between two of its yields. Not inlined: their accesses are no races.
#define ATOMIC(NAME, RESULT) \
  template <class T, class U> \
  __attribute__((noinline, no_sanitize_thread)) static T NAME(T *p, U given) { \
    const T old = *p, value = T(given); \
    *p = RESULT; \
    return old; \
  }
ATOMIC(atomicAdd, old + value)
ATOMIC(atomicSub, old - value)
ATOMIC(atomicMax, value > old ? value : old)
ATOMIC(atomicMin, value < old ? value : old)
ATOMIC(atomicExch, value)
ATOMIC(atomicAnd, old &value)
ATOMIC(atomicOr, old | value)
template <class T, class U, class V>
__attribute__((noinline, no_sanitize_thread)) static T atomicCAS(T *p, U expected, V value) {
  const T old = *p;
  if (old == T(expected)) *p = T(value);
  return old;
}

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t(a) * b) >> 32; }
static inline float __int_as_float(int x) { return __builtin_bit_cast(float, x); }
static inline int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
static inline double __longlong_as_double(long long x) { return __builtin_bit_cast(double, x); }
template <class T> static inline T __ldg(const T *p) { return *p; }

// CuPy's complex.cuh is for nvcc; its kernels of real numbers only name these.
template <class T> struct complex {
  T re, im;
};
template <class T> T norm(const complex<T> &x) { return x.re * x.re + x.im * x.im; }

using std::abs, std::atan2, std::ceil, std::copysign, std::cos, std::exp, std::exp2, std::expm1,
    std::fabs, std::floor, std::fmax, std::fmin, std::fmod, std::hypot, std::isfinite, std::isinf,
    std::isnan, std::log, std::log10, std::log1p, std::log2, std::max, std::min, std::pow,
    std::rint, std::signbit, std::sin, std::sqrt, std::tan, std::tanh, std::trunc;

#define CUDA_ON_CPU 1

// What driver.cpp asks of a compiled source: whether threads wait, whether accesses are checked,
// and where its __shared__ variables are.
extern "C" __attribute__((weak, visibility("hidden"))) char __start_cuda_shared[],
    __stop_cuda_shared[];
#define DESCRIBE(WAITS, CHECKED) \
  extern "C" { \
  int kernel_waits = WAITS, kernel_checked = CHECKED; \
  char *kernel_shared[] = {__start_cuda_shared, __stop_cuda_shared}; \
  }

template <class... A, std::size_t... I>
static void call(void (*kernel)(A...), void **p, std::index_sequence<I...>) {
  kernel(*(std::remove_reference_t<A> *)p[I]...);
}
template <class... A> static void call(void (*kernel)(A...), void **p) {
  call(kernel, p, std::index_sequence_for<A...>{});
}
