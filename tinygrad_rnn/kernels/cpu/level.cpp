// The kernels for the instruction set that this file is compiled for; LEVEL names it.
#include "lstm.hpp"

#define NAME_(x) #x
#define NAME(x) NAME_(x)

namespace tgrnn::LEVEL {

template <class T> void forward(const Layer<T> &layer, const Forward<T> &out) {
  ForwardPass<T, LstmForward>(layer, out).run();
}

template <class T> void backward(const Layer<T> &layer, const Backward<T> &io) {
  BackwardPass<T, LstmBackward>(layer, io).run();
}

extern const Kernels kernels = {
    NAME(LEVEL), lanes<float>, lanes<double>, forward<float>, forward<double>, backward<float>, backward<double>,
};

} // namespace tgrnn::LEVEL
