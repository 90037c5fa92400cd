// tanh, sigmoid and exp of vectors, with a relative error of a few units in the last place, also
// near 0. NaN propagates.
//
// All are computed from exp(y) - 1 = 2^n (exp(r) - 1) + (2^n - 1) with y = n log(2) + r and
// |r| <= log(2) / 2, where nothing cancels.
#pragma once

#include "coefficients.hpp"
#include "simd.hpp"

namespace tgrnn::LEVEL {

template <class T> struct Exponential; // the constants of a type

template <> struct Exponential<float> {
  static constexpr float round =
      12582912.0f; // 1.5 * 2^23: adding it leaves an integer in the low bits
  static constexpr int mantissa = 23, bias = 127, terms = 5;
  static constexpr float log2_e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float low = -87.33f, flat = -20.0f; // exp(low) is normal; tanh(-flat / 2) is 1
  static constexpr float high = 88.8f;                 // exp(high) is inf
  static constexpr const float *q = expm1_float;
};

template <> struct Exponential<double> {
  static constexpr double round = 6755399441055744.0; // 1.5 * 2^52
  static constexpr int mantissa = 52, bias = 1023, terms = 10;
  static constexpr double log2_e = 1.4426950408889634, ln2_high = 6.93147180369123816490e-01,
                          ln2_low = 1.90821492927058770002e-10;
  static constexpr double low = -708.39, flat = -42.0;
  static constexpr double high = 710.0;
  static constexpr const double *q = expm1_double;
};

// exp(y) = scale (1 + p), where p = exp(r) - 1.
template <class T> struct Reduced {
  Vector<T> p, scale;
};

template <class T> inline Reduced<T> reduced(Vector<T> y) {
  using E = Exponential<T>;
  const Vector<T> shifted = y * E::log2_e + E::round;
  const Vector<T> n = shifted - E::round;
  const Vector<T> r = (y - n * E::ln2_high) - n * E::ln2_low;
  Vector<T> q = broadcast(E::q[E::terms - 1]);
#pragma GCC unroll 16
  for (int k = E::terms - 2; k >= 0; k--) q = q * r + E::q[k];
  const Bits<T> power = ((Bits<T>)shifted + E::bias) << E::mantissa; // shifts out the bits of round
  return {r * r * q + r, (Vector<T>)power};
}

template <class T> inline Vector<T> tanh(Vector<T> x) {
  using E = Exponential<T>;
  const Bits<T> sign = (Bits<T>)x & (Bits<T>)broadcast(T(-0.0));
  Vector<T> y = (Vector<T>)((Bits<T>)x | (Bits<T>)broadcast(T(-0.0))) * T(2); // -2 |x|
  y = y < E::flat ? broadcast(E::flat) : y;
  const Reduced<T> e = reduced<T>(y);
  const Vector<T> m = e.scale * e.p + (e.scale - T(1));          // exp(-2 |x|) - 1
  return (Vector<T>)((Bits<T>)((T(0) - m) / (m + T(2))) | sign); // 0 - 0 is +0, -0 would not be
}

template <class T> inline Vector<T> sigmoid(Vector<T> x) {
  using E = Exponential<T>;
  Vector<T> y = -x;
  y = y < E::low ? broadcast(E::low) : y;
  y = y > E::high ? broadcast(E::high) : y;
  const Reduced<T> e = reduced<T>(y);
  return T(1) / (e.scale * (e.p + T(1)) + T(1)); // scale may be inf, 1 + p is positive
}

// exp; 0 where the result would be subnormal.
template <class T> inline Vector<T> exp(Vector<T> y) {
  using E = Exponential<T>;
  const Vector<T> bounded = y > E::high ? broadcast(E::high) : y < E::low ? broadcast(E::low) : y;
  const Reduced<T> e = reduced<T>(bounded);
  const Vector<T> x = e.scale * (e.p + T(1));
  return y < E::low ? Vector<T>{} : x;
}

} // namespace tgrnn::LEVEL
