// Fused elementwise arithmetic: interprets an `ElementwiseProgram` block by block.
//
// A block of elements runs through all instructions before the next, so that intermediate results
// stay in the L1 cache. The program must be valid: every register is set before it is read.
#pragma once

#include "kernels.hpp"
#include "math.hpp"
#include "scratch.hpp"

namespace tgrnn::LEVEL {

template <class T> class ElementwiseRun {
public:
  static constexpr int V = lanes<T>;
  static constexpr long kBlock = 1024 / sizeof(T); // elements

  ElementwiseRun(const ElementwiseProgram<T> &program)
      : program(program), registers(scratch.zeros<T>(program.registers * kBlock)) {
    for (int i = 0; i < program.constant_count; i++)
      for (long k = 0; k < kBlock; k++)
        for_active_vectors(program.input_count + i)[k] = program.constants[i];
    for (int i = 0; i < program.registers; i++)
      source[i] = for_active_vectors(i), target[i] = for_active_vectors(i);
    for (int i = 0; i < program.output_count;
         i++) { // written in place, if an instruction sets it and no other output is the same
      direct[i] = program.results[i] >= program.input_count + program.constant_count;
      for (int k = 0; k < i; k++) direct[i] = direct[i] && program.results[k] != program.results[i];
    }
  }

  void run() {
    for (long row = 0; row < program.rows; row++)
      for (long from = 0; from < program.columns; from += kBlock) {
        const long count = min(kBlock, program.columns - from), whole = ceil_div(count, V) * V;
        for (int i = 0; i < program.input_count; i++) {
          const T *input = program.inputs[i].data + row * program.inputs[i].row_stride + from;
          source[i] = count == whole ? input : for_active_vectors(i);
          if (count < whole) memcpy(for_active_vectors(i), input, count * sizeof(T));
        }
        for (int i = 0; i < program.output_count; i++) {
          const int r = program.results[i];
          if (direct[i])
            source[r] = target[r] = count == whole ? output(i, row) + from : for_active_vectors(r);
        }
        for (int i = 0; i < program.length; i++) execute(program.instructions[i], whole);
        for (int i = 0; i < program.output_count; i++)
          if (!direct[i] || count < whole)
            memcpy(output(i, row) + from, source[program.results[i]], count * sizeof(T));
      }
  }

private:
  const ElementwiseProgram<T> &program;
  Scratch scratch;
  T *const registers;
  const T *source[256]; // where each register is read
  T *target[256];       // and written
  bool direct[256];

  T *for_active_vectors(int i) const { return registers + i * kBlock; }
  T *output(int i, long row) const {
    return program.outputs[i].data + row * program.outputs[i].row_stride;
  }

  template <class Function> void apply(const Instruction &i, long count, Function function) {
    const T *a = source[i.a], *b = source[i.b];
    T *set = target[i.to];
    for (long k = 0; k < count; k += V) store(set + k, function(load(a + k), load(b + k)));
  }

  void execute(const Instruction &i, long count) {
    using X = Vector<T>;
    switch (i.opcode) {
    case Opcode::add: return apply(i, count, [](X a, X b) { return a + b; });
    case Opcode::subtract: return apply(i, count, [](X a, X b) { return a - b; });
    case Opcode::multiply: return apply(i, count, [](X a, X b) { return a * b; });
    case Opcode::divide: return apply(i, count, [](X a, X b) { return a / b; });
    case Opcode::maximum:
      return apply(i, count,
                   [](X a, X b) { return ((a >= b) | (a != a)) ? a : b; }); // propagates NaN
    case Opcode::minimum:
      return apply(i, count, [](X a, X b) { return ((a <= b) | (a != a)) ? a : b; });
    case Opcode::negative: return apply(i, count, [](X a, X) { return -a; });
    case Opcode::absolute:
      return apply(i, count, [](X a, X) { return (X)((Bits<T>)a & ~(Bits<T>)broadcast(T(-0.0))); });
    case Opcode::sign:
      return apply(i, count, [](X a, X) {
        return a > T(0) ? broadcast(T(1)) : a < T(0) ? broadcast(T(-1)) : a == T(0) ? X{} : a;
      });
    case Opcode::tanh: return apply(i, count, [](X a, X) { return tanh<T>(a); });
    case Opcode::count: return;
    }
  }
};

template <class T> void evaluate(const ElementwiseProgram<T> &program) {
  ElementwiseRun<T>(program).run();
}

} // namespace tgrnn::LEVEL
