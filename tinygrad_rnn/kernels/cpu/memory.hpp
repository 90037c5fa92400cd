// Scratch memory of a call, aligned to cache lines, freed with its owner.
#pragma once

#include <cstdlib>
#include <new>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "simd.hpp"

namespace tgrnn::LEVEL {

class Scratch {
public:
  Scratch() = default;
  Scratch(const Scratch &) = delete;
  ~Scratch() {
    while (last) {
      Block *before = last->before;
      free(last);
      last = before;
    }
  }

  template <class T> T *take(long count) {
    constexpr size_t line = 64, huge = 2 << 20;
    size_t bytes = count * sizeof(T) + line;
    const size_t unit = bytes >= 2 * huge ? huge : line;
    bytes = (bytes + unit - 1) / unit * unit;
    Block *block = static_cast<Block *>(aligned_alloc(unit, bytes));
    if (!block) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    if (unit == huge) madvise(block, bytes, MADV_HUGEPAGE); // fewer pages to be looked up in a step
#endif
    block->before = last;
    last = block;
    return reinterpret_cast<T *>(reinterpret_cast<char *>(block) + line);
  }

  template <class T> T *zeros(long count) {
    T *p = take<T>(count);
    memset(p, 0, count * sizeof(T));
    return p;
  }

private:
  struct Block {
    Block *before;
  };
  Block *last = nullptr;
};

} // namespace tgrnn::LEVEL
