// Stands in for cuBLAS and cuSOLVER: the functions that products and tg.linalg need, as plain
// loops. Matrices are stored by columns. What CuPy names beyond these returns "not supported"
// (driver.py).
#include <cmath>
#include <cstdlib>
#include <utility>

#define API extern "C" __attribute__((visibility("default")))

static long *products;
API void count_products_in(long *counter) { products = counter; }

API int cublasCreate_v2(void **h) { return *h = std::malloc(8), 0; }
API int cublasDestroy_v2(void *h) { return std::free(h), 0; }
API int cublasSetStream_v2(void *, void *) { return 0; }
API int cublasGetStream_v2(void *, void **s) { return *s = nullptr, 0; }
API int cublasSetWorkspace_v2(void *, void *, size_t) { return 0; }
API int cublasSetPointerMode_v2(void *, int) { return 0; }
API int cublasGetPointerMode_v2(void *, int *m) { return *m = 0, 0; }
API int cublasSetMathMode(void *, int) { return 0; }
API int cublasGetMathMode(void *, int *m) { return *m = 0, 0; }
API int cublasGetVersion_v2(void *, int *v) { return *v = 130100, 0; }
API int cusolverDnCreate(void **h) { return *h = std::malloc(8), 0; }
API int cusolverDnDestroy(void *h) { return std::free(h), 0; }
API int cusolverDnSetStream(void *, void *) { return 0; }
API int cusolverDnGetStream(void *, void **s) { return *s = nullptr, 0; }
API int cusolverGetProperty(int kind, int *v) { return *v = kind == 0 ? 12 : 0, 0; }

// ---------------------------------------------------------------- products

template <class T>
static int gemm(int ta, int tb, int m, int n, int k, T alpha, const T *a, long lda, const T *b,
                long ldb, T beta, T *c, long ldc) {
  for (long j = 0; j < n; j++)
    for (long i = 0; i < m; i++) {
      T sum = 0;
      for (long l = 0; l < k; l++)
        sum += (ta ? a[l + i * lda] : a[i + l * lda]) * (tb ? b[j + l * ldb] : b[l + j * ldb]);
      T &out = c[i + j * ldc];
      out = alpha * sum + (beta ? beta * out : T(0)); // beta 0: what is there may be NaN
    }
  return 0;
}
template <class T>
static int gemv(int t, int m, int n, T alpha, const T *a, long lda, const T *x, long ix, T beta,
                T *y, long iy) {
  const int rows = t ? n : m, terms = t ? m : n;
  for (long i = 0; i < rows; i++) {
    T sum = 0;
    for (long k = 0; k < terms; k++) sum += (t ? a[k + i * lda] : a[i + k * lda]) * x[k * ix];
    y[i * iy] = alpha * sum + (beta ? beta * y[i * iy] : T(0));
  }
  return 0;
}
template <class T> static int dot(int n, const T *x, long ix, const T *y, long iy, T *out) {
  T sum = 0;
  for (long i = 0; i < n; i++) sum += x[i * ix] * y[i * iy];
  return *out = sum, 0;
}

// ---------------------------------------------------------------- equations

// P A = L U in place; pivots count from 1. Returns the first zero pivot's number, or 0.
template <class T> static int getrf(int m, int n, T *a, long lda, int *pivots) {
  int info = 0;
  for (long j = 0; j < (m < n ? m : n); j++) {
    long p = j;
    for (long i = j + 1; i < m; i++)
      if (std::abs(a[i + j * lda]) > std::abs(a[p + j * lda])) p = i;
    if (pivots) pivots[j] = p + 1;
    if (p != j)
      for (long k = 0; k < n; k++) std::swap(a[j + k * lda], a[p + k * lda]);
    if (a[j + j * lda] == 0) {
      if (!info) info = j + 1;
      continue;
    }
    for (long i = j + 1; i < m; i++) {
      const T f = a[i + j * lda] /= a[j + j * lda];
      for (long k = j + 1; k < n; k++) a[i + k * lda] -= f * a[j + k * lda];
    }
  }
  return info;
}
template <class T>
static void getrs(int transposed, int n, int columns, const T *a, long lda, const int *pivots, T *b,
                  long ldb) {
  for (long c = 0; c < columns; c++) {
    T *x = b + c * ldb;
    auto at = [&](long i, long j) { return transposed ? a[j + i * lda] : a[i + j * lda]; };
    if (!transposed)
      for (long i = 0; i < n; i++) std::swap(x[i], x[pivots[i] - 1]);
    for (long i = 0; i < n; i++) { // L, whose diagonal is 1, or U'
      for (long j = 0; j < i; j++) x[i] -= at(i, j) * x[j];
      if (transposed) x[i] /= at(i, i);
    }
    for (long i = n; i-- > 0;) {
      for (long j = i + 1; j < n; j++) x[i] -= at(i, j) * x[j];
      if (!transposed) x[i] /= at(i, i);
    }
    if (transposed)
      for (long i = n; i-- > 0;) std::swap(x[i], x[pivots[i] - 1]);
  }
}
// A = L L' (lower) or U' U, in that triangle. Returns the number of the first minor that is not
// positive.
template <class T> static int potrf(int upper, int n, T *a, long lda) {
  auto at = [&](long i, long j) -> T & { return upper ? a[j + i * lda] : a[i + j * lda]; };
  for (long j = 0; j < n; j++) {
    T d = at(j, j);
    for (long k = 0; k < j; k++) d -= at(j, k) * at(j, k);
    if (!(d > 0)) return j + 1;
    d = at(j, j) = std::sqrt(d);
    for (long i = j + 1; i < n; i++) {
      for (long k = 0; k < j; k++) at(i, j) -= at(i, k) * at(j, k);
      at(i, j) /= d;
    }
  }
  return 0;
}
template <class T>
static int getri(int n, const T *a, long lda, const int *pivots, T *out, long ldo) {
  for (long j = 0; j < n; j++)
    for (long i = 0; i < n; i++) out[i + j * ldo] = i == j;
  getrs(0, n, n, a, lda, pivots, out, ldo);
  return 0;
}

static int counted() { return ++*products, 0; }

// ---------------------------------------------------------------- their names, in both precisions

#define BOTH(S, T) \
  API int cublas##S##gemm_v2(void *, int ta, int tb, int m, int n, int k, T *al, T *a, int lda, \
                             T *b, int ldb, T *be, T *c, int ldc) { \
    return counted(), gemm(ta, tb, m, n, k, *al, a, lda, b, ldb, *be, c, ldc); \
  } \
  API int cublas##S##gemmStridedBatched(void *, int ta, int tb, int m, int n, int k, T *al, T *a, \
                                        int lda, long long sa, T *b, int ldb, long long sb, T *be, \
                                        T *c, int ldc, long long sc, int count) { \
    counted(); \
    for (int i = 0; i < count; i++) \
      gemm(ta, tb, m, n, k, *al, a + i * sa, lda, b + i * sb, ldb, *be, c + i * sc, ldc); \
    return 0; \
  } \
  API int cublas##S##gemmBatched(void *, int ta, int tb, int m, int n, int k, T *al, T **a, \
                                 int lda, T **b, int ldb, T *be, T **c, int ldc, int count) { \
    counted(); \
    for (int i = 0; i < count; i++) \
      gemm(ta, tb, m, n, k, *al, a[i], lda, b[i], ldb, *be, c[i], ldc); \
    return 0; \
  } \
  API int cublas##S##gemv_v2(void *, int t, int m, int n, T *al, T *a, int lda, T *x, int ix, \
                             T *be, T *y, int iy) { \
    return counted(), gemv(t, m, n, *al, a, lda, x, ix, *be, y, iy); \
  } \
  API int cublas##S##dot_v2(void *, int n, T *x, int ix, T *y, int iy, T *out) { \
    return counted(), dot(n, x, ix, y, iy, out); \
  } \
  API int cublas##S##getrfBatched(void *, int n, T **a, int lda, int *pivots, int *info, \
                                  int count) { \
    for (int i = 0; i < count; i++) \
      info[i] = getrf(n, n, a[i], lda, pivots ? pivots + i * n : nullptr); \
    return 0; \
  } \
  API int cublas##S##getriBatched(void *, int n, T **a, int lda, int *pivots, T **out, int ldo, \
                                  int *info, int count) { \
    for (int i = 0; i < count; i++) info[i] = getri(n, a[i], lda, pivots + i * n, out[i], ldo); \
    return 0; \
  } \
  API int cublas##S##getrsBatched(void *, int t, int n, int columns, T **a, int lda, int *pivots, \
                                  T **b, int ldb, int *info, int count) { \
    for (int i = 0; i < count; i++) getrs(t, n, columns, a[i], lda, pivots + i * n, b[i], ldb); \
    return *info = 0, 0; /* on the host */ \
  } \
  API int cusolverDn##S##getrf_bufferSize(void *, int, int, T *, int, int *n) { \
    return *n = 1, 0; \
  } \
  API int cusolverDn##S##getrf(void *, int m, int n, T *a, int lda, T *, int *pivots, int *info) { \
    return *info = getrf(m, n, a, lda, pivots), 0; \
  } \
  API int cusolverDn##S##getrs(void *, int t, int n, int columns, T *a, int lda, int *pivots, \
                               T *b, int ldb, int *info) { \
    return getrs(t, n, columns, a, lda, pivots, b, ldb), *info = 0, 0; \
  } \
  API int cusolverDn##S##potrf_bufferSize(void *, int, int, T *, int, int *n) { \
    return *n = 1, 0; \
  } \
  API int cusolverDn##S##potrf(void *, int upper, int n, T *a, int lda, T *, int, int *info) { \
    return *info = potrf(upper, n, a, lda), 0; \
  } \
  API int cusolverDn##S##potrfBatched(void *, int upper, int n, T **a, int lda, int *info, \
                                      int count) { \
    for (int i = 0; i < count; i++) info[i] = potrf(upper, n, a[i], lda); \
    return 0; \
  }
BOTH(S, float)
BOTH(D, double)

API int cublasGemmEx(void *h, int ta, int tb, int m, int n, int k, void *al, void *a, int, int lda,
                     void *b, int, int ldb, void *be, void *c, int kind, int ldc, int, int) {
  if (kind == 0)
    return cublasSgemm_v2(h, ta, tb, m, n, k, (float *)al, (float *)a, lda, (float *)b, ldb,
                          (float *)be, (float *)c, ldc);
  if (kind == 1)
    return cublasDgemm_v2(h, ta, tb, m, n, k, (double *)al, (double *)a, lda, (double *)b, ldb,
                          (double *)be, (double *)c, ldc);
  return 15;
}
API int cublasGemmStridedBatchedEx(void *h, int ta, int tb, int m, int n, int k, void *al, void *a,
                                   int, int lda, long long sa, void *b, int, int ldb, long long sb,
                                   void *be, void *c, int kind, int ldc, long long sc, int count,
                                   int, int) {
  if (kind == 0)
    return cublasSgemmStridedBatched(h, ta, tb, m, n, k, (float *)al, (float *)a, lda, sa,
                                     (float *)b, ldb, sb, (float *)be, (float *)c, ldc, sc, count);
  if (kind == 1)
    return cublasDgemmStridedBatched(h, ta, tb, m, n, k, (double *)al, (double *)a, lda, sa,
                                     (double *)b, ldb, sb, (double *)be, (double *)c, ldc, sc,
                                     count);
  return 15;
}
