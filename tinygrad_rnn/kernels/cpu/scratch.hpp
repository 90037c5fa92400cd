// Temporary memory of one call, aligned to cache lines and freed with its owner.
//
// Small arrays come from a block that each thread keeps between calls: without it a single step
// would spend as much time in the allocator as on arithmetic. Not thread-safe: allocate before
// threads start.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "simd.hpp"

namespace tgrnn::LEVEL {

// A thread's block, used by one call at a time.
struct ThreadBlock {
#if defined(__SANITIZE_ADDRESS__) // which checks bounds of separate allocations only
  static constexpr size_t size = 0;
#else
  static constexpr size_t size = 1 << 20;
#endif
  char *data = nullptr;
  bool in_use = false; // by a call that is running
  ~ThreadBlock() { free(data); }
};

inline thread_local ThreadBlock thread_block;

class Scratch {
public:
  Scratch() : owns_thread_block(!thread_block.in_use) { thread_block.in_use = true; }
  Scratch(const Scratch &) = delete;
  ~Scratch() {
    if (owns_thread_block) thread_block.in_use = false;
    while (blocks) {
      Block *before = blocks->before;
      free(blocks);
      blocks = before;
    }
  }

  template <class T> T *take(long count) {
    if (count < 0 || (size_t)count > (size_t)PTRDIFF_MAX / 2 / sizeof(T))
      throw std::bad_alloc(); // the product of sizes overflowed
    const size_t bytes = round_up(count * sizeof(T), kLine);
    if (owns_thread_block && bytes <= ThreadBlock::size - used) {
      if (!thread_block.data &&
          !(thread_block.data = static_cast<char *>(aligned_alloc(kLine, ThreadBlock::size))))
        throw std::bad_alloc();
      used += bytes;
      return reinterpret_cast<T *>(thread_block.data + used - bytes);
    }
    return reinterpret_cast<T *>(allocate_block(bytes + kLine) + kLine);
  }

  template <class T> T *zeros(long count) {
    T *p = take<T>(count);
    memset(p, 0, count * sizeof(T));
    return p;
  }

private:
  static constexpr size_t kLine = 64, kHugePage = 2 << 20;
  struct Block {
    Block *before;
  };
  Block *blocks = nullptr;
  size_t used = 0;
  const bool owns_thread_block;

  static size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

  __attribute__((noinline)) char *allocate_block(size_t bytes) {
    const size_t unit = bytes >= 2 * kHugePage ? kHugePage : kLine;
    bytes = round_up(bytes, unit);
    Block *b = static_cast<Block *>(aligned_alloc(unit, bytes));
    if (!b) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    if (unit == kHugePage) madvise(b, bytes, MADV_HUGEPAGE); // fewer TLB misses
#endif
    b->before = blocks;
    blocks = b;
    return reinterpret_cast<char *>(b);
  }
};

} // namespace tgrnn::LEVEL
