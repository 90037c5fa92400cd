// The kernels of one instruction set: compiled once for each, with LEVEL its name and the
// namespace.
#include "elementwise.hpp"
#include "gru.hpp"
#include "lstm.hpp"
#include "matmul.hpp"
#include "philox.hpp"
#include "rnn.hpp"
#include "training.hpp"

#define NAME_(x) #x
#define NAME(x) NAME_(x)

namespace tgrnn::LEVEL {

// Whether an LSTM needs the code of options. Zoneout of h does not concern the cells.
template <class T> bool has_extras(const Layer<T> &l) {
  return l.w_hr || l.w_ch || l.c_zoneout.keep || l.cell_clip > 0;
}

template <class T> void forward(const Layer<T> &layer, const Forward<T> &out) {
  switch (layer.cell) {
  case Cell::rnn_tanh: return run_forward<T, RnnForward<T, false>>(layer, out);
  case Cell::rnn_relu: return run_forward<T, RnnForward<T, true>>(layer, out);
  case Cell::gru: return run_forward<T, GruForward<T>>(layer, out);
  case Cell::gru_reset_after: return run_forward<T, GruAfterForward<T>>(layer, out);
  case Cell::lstm:
    return has_extras(layer) ? run_forward<T, LstmForward<T, 4, true>>(layer, out)
                             : run_forward<T, LstmForward<T, 4, false>>(layer, out);
  case Cell::lstm_coupled: return run_forward<T, LstmForward<T, 3, true>>(layer, out);
  }
}

template <class T> void backward(const Layer<T> &layer, const Backward<T> &io) {
  switch (layer.cell) {
  case Cell::rnn_tanh: return run_backward<T, RnnBackward<T, false>>(layer, io);
  case Cell::rnn_relu: return run_backward<T, RnnBackward<T, true>>(layer, io);
  case Cell::gru: return run_backward<T, GruBackward<T>>(layer, io);
  case Cell::gru_reset_after: return run_backward<T, GruAfterBackward<T>>(layer, io);
  case Cell::lstm:
    return has_extras(layer) ? run_backward<T, LstmBackward<T, 4, true>>(layer, io)
                             : run_backward<T, LstmBackward<T, 4, false>>(layer, io);
  case Cell::lstm_coupled: return run_backward<T, LstmBackward<T, 3, true>>(layer, io);
  }
}

extern const Kernels kernels = {
    NAME(LEVEL),           lanes<float>,    lanes<double>,    forward<float>,
    forward<double>,       backward<float>, backward<double>, cross_entropy<float>,
    cross_entropy<double>, add_rows<float>, add_rows<double>, add_squares<float>,
    add_squares<double>,   adam<float>,     adam<double>,     product<float>,
    product<double>,       pack<float>,     pack<double>,     evaluate<float>,
    evaluate<double>,      philox,
};

} // namespace tgrnn::LEVEL
