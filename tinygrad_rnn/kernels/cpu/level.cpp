// The kernels for the instruction set that this file is compiled for; LEVEL names it.
#include "elementwise.hpp"
#include "gru.hpp"
#include "lstm.hpp"
#include "matmul.hpp"
#include "rnn.hpp"

#define NAME_(x) #x
#define NAME(x) NAME_(x)

namespace tgrnn::LEVEL {

template <class T> void forward(const Layer<T> &layer, const Forward<T> &out) {
  switch (layer.cell) {
  case Cell::rnn_tanh: return ForwardPass<T, RnnForward<T, false>>(layer, out).run();
  case Cell::rnn_relu: return ForwardPass<T, RnnForward<T, true>>(layer, out).run();
  case Cell::gru: return ForwardPass<T, GruForward<T>>(layer, out).run();
  case Cell::gru_reset_after: return ForwardPass<T, GruAfterForward<T>>(layer, out).run();
  case Cell::lstm: return ForwardPass<T, LstmForward<T>>(layer, out).run();
  }
}

template <class T> void backward(const Layer<T> &layer, const Backward<T> &io) {
  switch (layer.cell) {
  case Cell::rnn_tanh: return BackwardPass<T, RnnBackward<T, false>>(layer, io).run();
  case Cell::rnn_relu: return BackwardPass<T, RnnBackward<T, true>>(layer, io).run();
  case Cell::gru: return BackwardPass<T, GruBackward<T>>(layer, io).run();
  case Cell::gru_reset_after: return BackwardPass<T, GruAfterBackward<T>>(layer, io).run();
  case Cell::lstm: return BackwardPass<T, LstmBackward<T>>(layer, io).run();
  }
}

extern const Kernels kernels = {
    NAME(LEVEL), lanes<float>, lanes<double>, forward<float>, forward<double>, backward<float>, backward<double>,
    product<float>, product<double>, pack<float>, pack<double>, evaluate<float>, evaluate<double>,
};

} // namespace tgrnn::LEVEL
