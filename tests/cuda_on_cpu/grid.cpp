// The scheduler of fibers, and the checks of what they read and write.
//
// A checked kernel is compiled with -fsanitize=thread, whose calls before each access come here and
// not to its library: two threads that touch the same bytes, one of them writing, with no barrier
// between, are a race; a write outside of device and shared memory is a stray write.
#include "grid.hpp"

#include <sys/mman.h>
#include <ucontext.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>
#include <unordered_map>
#include <utility>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

struct Index {
  unsigned x, y, z;
};
API Index thread_index{}, block_index{}, block_size{}, grid_size{};

namespace grid {

unsigned seed = 0;
std::string failure;
std::map<uintptr_t, size_t> allocated;

enum State { READY, SPINS, AT_WARP, AT_BLOCK, DONE };

struct Fiber {
  ucontext_t context;
  State state = READY;
  Index thread;
  unsigned block, lane, warp; // warp: counted over all blocks
  unsigned long value = 0;    // what it hands to the others of its warp
};
struct Block {
  Index index;
  unsigned epoch = 0;               // how many barriers it has passed
  std::vector<char> fixed, dynamic; // shared memory: of the kernel's variables, of the launch
};

const size_t STACK = 64 << 10;

static ucontext_t scheduler;
static std::vector<Fiber> fibers;
static std::vector<Block> blocks;
static std::vector<unsigned> warp_epoch;
static Fiber *now;
static Kernel *kernel;
static void **arguments;
static char *stacks = nullptr;
static size_t stacks_size = 0;
static bool failed;
static uint64_t dice;

static unsigned roll(unsigned n) {
  dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
  return dice % n;
}

static void fail(const std::string &what) {
  if (!failed) failure = "kernel " + kernel->name + ": " + what;
  failed = true;
}

static std::string who(unsigned block, unsigned thread) {
  return "thread " + std::to_string(thread) + " of block " + std::to_string(block);
}

static void start() {
  kernel->entry(arguments);
  now->state = DONE;
  swapcontext(&now->context, &scheduler);
}

static void wait(State state) {
  now->state = state;
  swapcontext(&now->context, &scheduler);
}

static void swap_shared(Block &block, bool in) {
  if (!kernel->shared) return;
  const size_t n = kernel->shared_end - kernel->shared;
  in ? std::memcpy(kernel->shared, block.fixed.data(), n)
     : std::memcpy(block.fixed.data(), kernel->shared, n);
}

static void enter(Fiber &fiber) {
  now = &fiber;
  thread_index = fiber.thread;
  block_index = blocks[fiber.block].index;
}

// Lets those go on whose barrier all have reached. Returns whether there are any.
static void release(unsigned first, unsigned n) {
  bool all = true, any = false;
  for (unsigned i = first; i < first + n; i++)
    all &= fibers[i].state == AT_BLOCK || fibers[i].state == DONE,
        any |= fibers[i].state == AT_BLOCK;
  if (all && any) {
    blocks[fibers[first].block].epoch++;
    for (unsigned i = first; i < first + n; i++)
      if (fibers[i].state == AT_BLOCK) fibers[i].state = READY;
  }
  for (unsigned w = first; w < first + n; w += 32) {
    const unsigned end = std::min(w + 32, first + n);
    bool whole = true;
    for (unsigned i = w; i < end; i++)
      whole &= fibers[i].state == AT_WARP || fibers[i].state == DONE;
    if (!whole) continue;
    warp_epoch[fibers[w].warp]++;
    for (unsigned i = w; i < end; i++)
      if (fibers[i].state == AT_WARP) fibers[i].state = READY;
  }
}

static void run_fibers(unsigned threads) {
  std::vector<unsigned> order(blocks.size());
  std::iota(order.begin(), order.end(), 0);
  unsigned behind = seed ? roll(2 * blocks.size()) : ~0u; // a block that lags while others go on
  for (unsigned idle = 0; !failed;) {
    if (seed)
      for (unsigned i = order.size(); i > 1; i--) std::swap(order[i - 1], order[roll(i)]);
    bool left = false, moved = false;
    for (unsigned b : order) {
      const unsigned first = b * threads;
      if (b == behind) {
        left = true;
        continue;
      }
      const unsigned turn = seed ? roll(threads) : 0;
      const bool backwards = seed && roll(2), skip = seed && roll(4) == 0;
      const unsigned skipped = skip ? roll((threads + 31) / 32) : ~0u; // a warp that lags behind
      release(first, threads);
      swap_shared(blocks[b], true);
      for (unsigned k = 0; k < threads && !failed; k++) {
        const unsigned t = ((backwards ? threads - 1 - k : k) + turn) % threads;
        Fiber &fiber = fibers[first + t];
        left |= fiber.state != DONE;
        if (fiber.state != READY && fiber.state != SPINS) continue;
        if (t / 32 == skipped) {
          moved = true;
          continue;
        }
        moved |= fiber.state == READY;
        enter(fiber);
        fiber.state = READY;
        swapcontext(&scheduler, &fiber.context);
      }
      swap_shared(blocks[b], false);
    }
    if (!left) return;
    if (behind < blocks.size() && !moved) { // the other blocks wait for it
      behind = roll(2 * blocks.size());
      continue;
    }
    idle = moved ? 0 : idle + 1;
    if (idle > 1000 || (!moved && [] {
          for (Fiber &f : fibers)
            if (f.state == SPINS || f.state == READY) return false;
          return true;
        }())) {
      // A barrier may have been completed in this round.
      bool ready = false;
      for (unsigned b = 0; b < blocks.size(); b++) release(b * threads, threads);
      for (Fiber &f : fibers) ready |= f.state == READY;
      if (ready) continue;
      for (Fiber &f : fibers)
        if (f.state != DONE)
          return fail("its threads wait for each other for ever: " + who(f.block, f.lane) +
                      (f.state == AT_BLOCK  ? " at __syncthreads"
                       : f.state == AT_WARP ? " at a warp's barrier or shuffle"
                                            : " for another block"));
    }
  }
}

static void forget();

bool run(Kernel &k, const unsigned *size, unsigned shared, void **args, bool together) {
  kernel = &k, arguments = args, failed = false;
  dice = 0x9e3779b97f4a7c15ull * (seed + 1);
  grid_size = {size[0], size[1], size[2]}, block_size = {size[3], size[4], size[5]};
  const unsigned threads = size[3] * size[4] * size[5];
  const unsigned long all = (unsigned long)size[0] * size[1] * size[2];
  auto index = [&](unsigned long i, const unsigned *n) {
    return Index{unsigned(i % n[0]), unsigned(i / n[0] % n[1]), unsigned(i / n[0] / n[1])};
  };
  forget();
  if (!k.waits && !k.checked && !shared) { // no fibers are needed
    const unsigned long from = seed ? roll(all) : 0;
    for (unsigned long b = 0; b < all; b++) {
      block_index = index((seed ? from + all - b : b) % all, size);
      const unsigned first = seed ? roll(threads) : 0;
      for (unsigned t = 0; t < threads; t++) {
        thread_index = index((seed ? first + threads - t : t) % threads, size + 3);
        k.entry(args);
      }
    }
    return true;
  }
  const unsigned long alive = together ? all : 1, from = seed ? roll(all) : 0;
  if (const size_t need = alive * threads * STACK; need > stacks_size) {
    if (stacks) munmap(stacks, stacks_size);
    stacks = (char *)mmap(nullptr, need, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED)
      return stacks = nullptr, stacks_size = 0, fail("no memory for its threads"), false;
    stacks_size = need;
  }
  const size_t fixed = k.shared ? k.shared_end - k.shared : 0;
  for (unsigned long b = 0; b < all && !failed; b += alive) {
    blocks.assign(alive, Block());
    fibers.resize(alive * threads);
    warp_epoch.assign(alive * ((threads + 31) / 32), 0);
    for (unsigned long i = 0; i < alive; i++) {
      Block &block = blocks[i];
      block.index = index((seed ? from + all - b - i : b + i) % all, size);
      block.fixed.assign(fixed, (char)0xff);
      block.dynamic.assign(shared, (char)0xff);
      for (unsigned t = 0; t < threads; t++) {
        Fiber &fiber = fibers[i * threads + t];
        fiber.state = READY, fiber.block = i, fiber.lane = t;
        fiber.warp = i * ((threads + 31) / 32) + t / 32;
        fiber.thread = index(t, size + 3);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = stacks + (i * threads + t) * STACK;
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, start, 0);
      }
    }
    run_fibers(threads);
  }
  return !failed;
}

// ---------------------------------------------------------------- checks of reads and writes

struct Access {
  unsigned block = ~0u, thread = 0, warp = 0, epoch = 0, warp_epoch = 0;
  unsigned char bytes = 0;
};
struct Shadow {
  Access write, read, other; // the last write; the last reads, by two different threads
};
static std::unordered_map<uintptr_t, Shadow> shadows;
static void forget() { shadows.clear(); }

static bool ordered(const Access &before, const Access &after) {
  if (before.block == ~0u || !(before.bytes & after.bytes)) return true;
  if (before.block != after.block) return false;
  if (before.thread == after.thread || before.epoch != after.epoch) return true;
  return before.warp == after.warp && before.warp_epoch != after.warp_epoch;
}

static bool inside(uintptr_t at, const void *from, size_t n) {
  return at >= (uintptr_t)from && at < (uintptr_t)from + n;
}

// The thread ends here: a stray write must not be made.
static void stop(const std::string &what) {
  fail(what);
  wait(DONE);
}

static void access(uintptr_t at, unsigned n, bool writes) {
  if (!kernel->checked || failed || inside(at, stacks, stacks_size)) return;
  const Block &block = blocks[now->block];
  const bool shared = inside(at, block.dynamic.data(), block.dynamic.size()) ||
                      inside(at, kernel->shared, kernel->shared_end - kernel->shared);
  const unsigned number =
      block.index.x + grid_size.x * (block.index.y + grid_size.y * block.index.z);
  if (!shared) {
    auto next = allocated.upper_bound(at);
    const bool known =
        next != allocated.begin() && at + n <= std::prev(next)->first + std::prev(next)->second;
    if (!known && writes)
      return stop("stray write by " + who(number, now->lane) +
                  ": outside of device and shared memory");
    if (!known) return; // a constant of the kernel
  }
  for (uintptr_t word = at & ~uintptr_t(3); word < at + n; word += 4) {
    const uintptr_t low = std::max(word, at), high = std::min(word + 4, at + n);
    const unsigned char bytes = ((1u << (high - low)) - 1) << (low - word);
    const Access mine{number, now->lane, now->warp, block.epoch, warp_epoch[now->warp], bytes};
    // The blocks' variables take turns at one address.
    Shadow &shadow =
        shadows[shared && !block.fixed.empty() ? word ^ (uintptr_t(number + 1) << 48) : word];
    for (const Access *before : {&shadow.write, &shadow.read, &shadow.other}) {
      if (!ordered(*before, mine))
        return stop("race: " + who(number, now->lane) + (writes ? " writes" : " reads") + " what " +
                    who(before->block, before->thread) + " touches, with no barrier between");
      if (!writes) break; // reads do not race with reads
    }
    if (writes) shadow.write = mine;
    else if (shadow.read.thread != mine.thread || shadow.read.block != mine.block)
      shadow.other = shadow.read, shadow.read = mine;
    else shadow.read = mine;
  }
}

} // namespace grid

// ---------------------------------------------------------------- what kernels call

API void block_barrier() { grid::wait(grid::AT_BLOCK); }
API void warp_barrier() { grid::wait(grid::AT_WARP); }
API void spin() {
  if (grid::now) grid::wait(grid::SPINS);
}
API void *dynamic_shared() { return grid::blocks[grid::now->block].dynamic.data(); }

// The value of another lane: of lane ^ n, lane + n, lane - n or n, by the mode.
API unsigned long shuffle(unsigned long value, int n, int mode) {
  grid::Fiber &me = *grid::now;
  me.value = value;
  warp_barrier();
  const int lane = me.lane & 31;
  const int from = mode == 0 ? lane ^ n : mode == 1 ? lane + n : mode == 2 ? lane - n : n & 31;
  const bool there = from >= 0 && from < 32;
  const unsigned long result = there ? (&me - lane)[from].value : value;
  warp_barrier();
  return result;
}

// ---------------------------------------------------------------- what -fsanitize=thread calls

#define ACCESS(N) \
  API void __tsan_read##N(void *p) { grid::access((uintptr_t)p, N, false); } \
  API void __tsan_write##N(void *p) { grid::access((uintptr_t)p, N, true); } \
  API void __tsan_unaligned_read##N(void *p) { grid::access((uintptr_t)p, N, false); } \
  API void __tsan_unaligned_write##N(void *p) { grid::access((uintptr_t)p, N, true); }
ACCESS(1)
ACCESS(2) ACCESS(4) ACCESS(8) ACCESS(16) API void __tsan_read_range(void *p, unsigned long n) {
  grid::access((uintptr_t)p, n, false);
}
API void __tsan_write_range(void *p, unsigned long n) { grid::access((uintptr_t)p, n, true); }
API void __tsan_init() {}
API void __tsan_func_entry(void *) {}
API void __tsan_func_exit() {}
API void __tsan_vptr_update(void **, void *) {}
API void __tsan_vptr_read(void **) {}
