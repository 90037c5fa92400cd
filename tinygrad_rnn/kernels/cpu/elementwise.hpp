// Chains of elementwise arithmetic: some elements at a time go through all of a chain's instructions.
//
// What lies between them stays in the nearest cache, and costs neither an array nor a call.
#pragma once

#include "chain.hpp"
#include "math.hpp"
#include "memory.hpp"

namespace tgrnn::LEVEL {

template <class T> class ChainRun {
public:
  static constexpr int V = lanes<T>;
  static constexpr long stretch = 1024 / sizeof(T); // elements that go through together

  ChainRun(const Chain<T> &chain) : chain(chain), registers(scratch.zeros<T>(chain.registers * stretch)) {
    for (int i = 0; i < chain.number_count; i++)
      for (long k = 0; k < stretch; k++) own(chain.input_count + i)[k] = chain.numbers[i];
    for (int i = 0; i < chain.registers; i++) at[i] = own(i), to[i] = own(i);
    for (int i = 0; i < chain.output_count; i++) { // set where it goes, if an instruction sets it and once
      direct[i] = chain.results[i] >= chain.input_count + chain.number_count;
      for (int k = 0; k < i; k++) direct[i] = direct[i] && chain.results[k] != chain.results[i];
    }
  }

  void run() {
    for (long row = 0; row < chain.rows; row++)
      for (long from = 0; from < chain.columns; from += stretch) {
        const long count = smaller(stretch, chain.columns - from), whole = parts(count, V) * V;
        for (int i = 0; i < chain.input_count; i++) {
          const T *input = chain.inputs[i].data + row * chain.inputs[i].down + from;
          at[i] = count == whole ? input : own(i);
          if (count < whole) memcpy(own(i), input, count * sizeof(T));
        }
        for (int i = 0; i < chain.output_count; i++) {
          const int r = chain.results[i];
          if (direct[i]) at[r] = to[r] = count == whole ? output(i, row) + from : own(r);
        }
        for (int i = 0; i < chain.length; i++) execute(chain.code[i], whole);
        for (int i = 0; i < chain.output_count; i++)
          if (!direct[i] || count < whole) memcpy(output(i, row) + from, at[chain.results[i]], count * sizeof(T));
      }
  }

private:
  const Chain<T> &chain;
  Scratch scratch;
  T *const registers;
  const T *at[256]; // where each register is
  T *to[256];       // and is set
  bool direct[256];

  T *own(int i) const { return registers + i * stretch; }
  T *output(int i, long row) const { return chain.outputs[i].data + row * chain.outputs[i].down; }

  template <class Function> void each(const Instruction &i, long count, Function function) {
    const T *a = at[i.a], *b = at[i.b];
    T *set = to[i.to];
    for (long k = 0; k < count; k += V) store(set + k, function(load(a + k), load(b + k)));
  }

  void execute(const Instruction &i, long count) {
    using X = Vector<T>;
    switch (i.code) {
    case Code::add: return each(i, count, [](X a, X b) { return a + b; });
    case Code::subtract: return each(i, count, [](X a, X b) { return a - b; });
    case Code::multiply: return each(i, count, [](X a, X b) { return a * b; });
    case Code::divide: return each(i, count, [](X a, X b) { return a / b; });
    case Code::maximum: return each(i, count, [](X a, X b) { return (a >= b) | (a != a) ? a : b; }); // a NaN wins
    case Code::minimum: return each(i, count, [](X a, X b) { return (a <= b) | (a != a) ? a : b; });
    case Code::negative: return each(i, count, [](X a, X) { return -a; });
    case Code::absolute: return each(i, count, [](X a, X) { return (X)((Bits<T>)a & ~(Bits<T>)broadcast(T(-0.0))); });
    case Code::sign: return each(i, count, [](X a, X) { return a > T(0) ? broadcast(T(1)) : a < T(0) ? broadcast(T(-1)) : a == T(0) ? X{} : a; });
    case Code::tanh: return each(i, count, [](X a, X) { return tanh<T>(a); });
    case Code::count: return;
    }
  }
};

template <class T> void evaluate(const Chain<T> &chain) { ChainRun<T>(chain).run(); }

} // namespace tgrnn::LEVEL
