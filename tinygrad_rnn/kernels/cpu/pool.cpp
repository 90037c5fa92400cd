#include "pool.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <pthread.h>
#include <sched.h>
#include <system_error>
#include <thread>

namespace tgrnn {
namespace {

constexpr int patience = 4000; // turns of a loop before a waiting thread gives its core away

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

struct Job {
  void (*body)(void *, Team &, int);
  void *context;
  Team *team;
};

// Deliberately never destroyed: its threads outlive the interpreter's last call.
struct Pool {
  std::mutex busy; // held by the caller whose job runs
  std::mutex mutex;
  std::condition_variable wake, done;
  std::atomic<long> serial{0}; // counts jobs
  std::atomic<int> running{0}; // workers that have not yet left the job
  int workers = 0;
  Job job{};

  void work(int id, long seen) {
    for (;;) {
      for (int i = 0; i < patience && serial.load(std::memory_order_acquire) == seen; i++) pause();
      Job mine;
      {
        std::unique_lock<std::mutex> lock(mutex);
        wake.wait(lock, [&] { return serial.load() != seen; });
        seen = serial.load();
        mine = job;
      }
      if (id < mine.team->size) mine.team->part(mine.body, mine.context, id);
      if (running.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        std::lock_guard<std::mutex> lock(mutex);
        done.notify_one();
      }
    }
  }

  // Of so many threads those that there are, the caller's among them.
  int start(int threads) {
    try {
      while (workers < threads - 1) {
        const int id = workers + 1;
        const long seen = serial.load();
        std::thread([this, id, seen] { work(id, seen); }).detach();
        workers++;
      }
    } catch (const std::system_error &) { // a limit of the system's: fewer will do
    } catch (const std::bad_alloc &) {
    }
    return std::min(threads, workers + 1);
  }
};

Pool *pool = nullptr;
std::mutex making;

Pool &the_pool() {
  std::lock_guard<std::mutex> lock(making);
  if (!pool) {
    static bool registered = false;
    if (!registered) // a child has none of its parent's threads: it begins anew
      pthread_atfork([] { making.lock(); }, [] { making.unlock(); }, [] { pool = nullptr; making.unlock(); });
    registered = true;
    pool = new Pool;
  }
  return *pool;
}

} // namespace

void Team::barrier() {
  if (size == 1) return;
  const int mine = __atomic_load_n(&turn, __ATOMIC_ACQUIRE);
  if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == size) {
    __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&turn, mine + 1, __ATOMIC_RELEASE);
    return;
  }
  for (int i = 0; __atomic_load_n(&turn, __ATOMIC_ACQUIRE) == mine; i++) {
    if (i < patience)
      pause();
    else
      sched_yield();
    if (failed()) throw Broken();
  }
}

void Team::part(void (*body)(void *, Team &, int), void *context, int id) {
  try {
    body(context, *this, id);
  } catch (const std::bad_alloc &) {
    __atomic_store_n(&broken, true, __ATOMIC_RELEASE);
  } catch (const Broken &) {
  }
}

void run(int threads, void (*body)(void *, Team &, int), void *context) {
  Team alone(1);
  if (threads <= 1) return body(context, alone, 0);
  Pool &p = the_pool();
  std::unique_lock<std::mutex> only(p.busy, std::try_to_lock);
  if (!only.owns_lock()) return body(context, alone, 0);
  Team team(p.start(threads));
  {
    std::lock_guard<std::mutex> lock(p.mutex);
    p.job = {body, context, &team};
    p.running.store(p.workers, std::memory_order_relaxed);
    p.serial.fetch_add(1, std::memory_order_release);
  }
  p.wake.notify_all();
  team.part(body, context, 0);
  for (int i = 0; i < patience && p.running.load(std::memory_order_acquire); i++) pause();
  {
    std::unique_lock<std::mutex> lock(p.mutex);
    p.done.wait(lock, [&] { return p.running.load(std::memory_order_acquire) == 0; });
  }
  if (team.failed()) throw std::bad_alloc();
}

} // namespace tgrnn
