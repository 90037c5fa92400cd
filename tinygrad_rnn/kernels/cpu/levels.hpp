// The instruction sets that the module holds, and which of them this CPU runs.
#pragma once

#include "layer.hpp"

namespace tgrnn {

#if defined(X86_64_LEVELS)

namespace x86_64_v2 { extern const Kernels kernels; }
namespace x86_64_v3 { extern const Kernels kernels; }
namespace x86_64_v4 { extern const Kernels kernels; }

inline const Kernels &best_kernels() {
  static const Kernels &best = __builtin_cpu_supports("x86-64-v4")   ? x86_64_v4::kernels
                               : __builtin_cpu_supports("x86-64-v3") ? x86_64_v3::kernels
                                                                     : x86_64_v2::kernels;
  return best;
}

#else

namespace generic { extern const Kernels kernels; }

inline const Kernels &best_kernels() { return generic::kernels; }

#endif

} // namespace tgrnn
