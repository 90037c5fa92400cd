// Runs a kernel's grid on one core: a thread of the kernel is a fiber, which yields at barriers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace grid {

typedef void (*Entry)(void **arguments);

struct Kernel {
  std::string name;
  Entry entry;
  int waits = 0;   // whether its threads wait for each other
  int checked = 0; // whether it was compiled so that races and stray writes are found
  char *shared = nullptr, *shared_end = nullptr; // its __shared__ variables
};

extern unsigned seed;       // 0: threads run in the order of their numbers; else in a drawn one
extern std::string failure; // what went wrong in the last launch that failed
extern std::map<uintptr_t, size_t> allocated; // device memory: address, bytes

// Runs all blocks, one after another or, `together`, side by side. False: see `failure`.
bool run(Kernel &kernel, const unsigned *size, unsigned shared, void **arguments, bool together);

} // namespace grid
