// What the binding hands to a chain of elementwise arithmetic, in raw pointers.
#pragma once

namespace tgrnn {

enum class Code : unsigned char { add, subtract, multiply, divide, maximum, minimum, negative, absolute, sign, tanh, count };

// Registers are the inputs, then the numbers, then those that instructions set.
struct Instruction {
  Code code;
  unsigned char a, b, to;
};

template <class T> struct Input {
  const T *data;
  long down; // from row to row
};

template <class T> struct Output {
  T *data;
  long down;
};

template <class T> struct Chain {
  long rows, columns;
  const Input<T> *inputs;
  const T *numbers;
  int input_count, number_count, registers, length, output_count;
  const Instruction *code;
  const unsigned char *results; // the outputs' registers
  const Output<T> *outputs;
};

} // namespace tgrnn
