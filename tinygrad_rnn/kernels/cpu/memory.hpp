// Scratch memory of a call, aligned to cache lines, freed with its owner.
//
// Small pieces come from one block that a thread keeps between calls: a single step would else
// spend as long with the allocator as with its arithmetic.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "simd.hpp"

namespace tgrnn::LEVEL {

// What a thread keeps: a block for one call at a time.
struct Kept {
#if defined(__SANITIZE_ADDRESS__) // which sees a step beyond an end in pieces of their own
  static constexpr size_t size = 0;
#else
  static constexpr size_t size = 1 << 20;
#endif
  char *data = nullptr;
  bool taken = false; // by a call that has not ended
  ~Kept() { free(data); }
};

inline thread_local Kept kept;

class Scratch {
public:
  Scratch() : mine(!kept.taken) { kept.taken = true; }
  Scratch(const Scratch &) = delete;
  ~Scratch() {
    if (mine) kept.taken = false;
    while (last) {
      Block *before = last->before;
      free(last);
      last = before;
    }
  }

  template <class T> T *take(long count) {
    if (count < 0 || (size_t)count > (size_t)PTRDIFF_MAX / 2 / sizeof(T)) throw std::bad_alloc(); // sizes whose product overflowed
    const size_t bytes = round_up(count * sizeof(T), line);
    if (mine && bytes <= Kept::size - used) {
      if (!kept.data && !(kept.data = static_cast<char *>(aligned_alloc(line, Kept::size)))) throw std::bad_alloc();
      used += bytes;
      return reinterpret_cast<T *>(kept.data + used - bytes);
    }
    return reinterpret_cast<T *>(block(bytes + line) + line);
  }

  template <class T> T *zeros(long count) {
    T *p = take<T>(count);
    memset(p, 0, count * sizeof(T));
    return p;
  }

private:
  static constexpr size_t line = 64, huge = 2 << 20;
  struct Block {
    Block *before;
  };
  Block *last = nullptr;
  size_t used = 0;
  const bool mine;

  static size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

  __attribute__((noinline)) char *block(size_t bytes) {
    const size_t unit = bytes >= 2 * huge ? huge : line;
    bytes = round_up(bytes, unit);
    Block *b = static_cast<Block *>(aligned_alloc(unit, bytes));
    if (!b) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    if (unit == huge) madvise(b, bytes, MADV_HUGEPAGE); // fewer pages to be looked up in a step
#endif
    b->before = last;
    last = b;
    return reinterpret_cast<char *>(b);
  }
};

} // namespace tgrnn::LEVEL
