// The kernels for the instruction set that this file is compiled for; LEVEL names it.
#include "elementwise.hpp"
#include "gru.hpp"
#include "lstm.hpp"
#include "matmul.hpp"
#include "neighbours.hpp"
#include "rnn.hpp"

#define NAME_(x) #x
#define NAME(x) NAME_(x)

namespace tgrnn::LEVEL {

// Whether an LSTM is more than the plain one; zoneout of h is nothing that the cells know.
template <class T> bool has_extras(const Layer<T> &l) { return l.w_hr || l.w_ch || l.c_zone.shares || l.cell_clip > 0; }

template <class T> void forward(const Layer<T> &layer, const Forward<T> &out) {
  switch (layer.cell) {
  case Cell::rnn_tanh: return ForwardPass<T, RnnForward<T, false>>(layer, out).run();
  case Cell::rnn_relu: return ForwardPass<T, RnnForward<T, true>>(layer, out).run();
  case Cell::gru: return ForwardPass<T, GruForward<T>>(layer, out).run();
  case Cell::gru_reset_after: return ForwardPass<T, GruAfterForward<T>>(layer, out).run();
  case Cell::lstm:
    return has_extras(layer) ? ForwardPass<T, LstmForward<T, 4, true>>(layer, out).run()
                             : ForwardPass<T, LstmForward<T, 4, false>>(layer, out).run();
  case Cell::lstm_coupled: return ForwardPass<T, LstmForward<T, 3, true>>(layer, out).run();
  }
}

template <class T> void backward(const Layer<T> &layer, const Backward<T> &io) {
  switch (layer.cell) {
  case Cell::rnn_tanh: return BackwardPass<T, RnnBackward<T, false>>(layer, io).run();
  case Cell::rnn_relu: return BackwardPass<T, RnnBackward<T, true>>(layer, io).run();
  case Cell::gru: return BackwardPass<T, GruBackward<T>>(layer, io).run();
  case Cell::gru_reset_after: return BackwardPass<T, GruAfterBackward<T>>(layer, io).run();
  case Cell::lstm:
    return has_extras(layer) ? BackwardPass<T, LstmBackward<T, 4, true>>(layer, io).run()
                             : BackwardPass<T, LstmBackward<T, 4, false>>(layer, io).run();
  case Cell::lstm_coupled: return BackwardPass<T, LstmBackward<T, 3, true>>(layer, io).run();
  }
}

extern const Kernels kernels = {
    NAME(LEVEL), lanes<float>, lanes<double>, forward<float>, forward<double>, backward<float>, backward<double>,
    cross_entropy<float>, cross_entropy<double>, add_rows<float>, add_rows<double>,
    add_squares<float>, add_squares<double>, adam<float>, adam<double>,
    product<float>, product<double>, pack<float>, pack<double>, evaluate<float>, evaluate<double>,
};

} // namespace tgrnn::LEVEL
