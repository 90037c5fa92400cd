// The thread pool. Threads spin for a moment, then sleep; a job is published under a mutex and a
// serial number.
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

constexpr int kSpins = 4000; // how often a waiting thread polls before it yields its core

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

// Never destroyed: its threads run until the process ends.
struct Pool {
  std::mutex in_use; // locked by the caller whose job runs
  std::mutex mutex;
  std::condition_variable wake, done;
  std::atomic<long> serial{0}; // counts jobs
  std::atomic<int> running{0}; // workers that have not yet left the job
  int workers = 0;
  Job job{};

  void work(int id, long last_serial) {
    for (;;) {
      for (int i = 0; i < kSpins && serial.load(std::memory_order_acquire) == last_serial; i++)
        pause();
      Job mine;
      {
        std::unique_lock<std::mutex> lock(mutex);
        wake.wait(lock, [&] { return serial.load() != last_serial; });
        last_serial = serial.load();
        mine = job;
      }
      if (id < mine.team->size) mine.team->run_member(mine.body, mine.context, id);
      if (running.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        std::lock_guard<std::mutex> lock(mutex);
        done.notify_one();
      }
    }
  }

  // Starts threads as needed. Returns how many there are, at most so many, the caller's included.
  int start(int threads) {
    try {
      while (workers < threads - 1) {
        const int id = workers + 1;
        const long last_serial = serial.load();
        std::thread([this, id, last_serial] { work(id, last_serial); }).detach();
        workers++;
      }
    } catch (const std::system_error &) { // a limit of the system: use fewer
    } catch (const std::bad_alloc &) {
    }
    return std::min(threads, workers + 1);
  }
};

Pool *pool = nullptr;
std::mutex pool_mutex;

Pool &shared_pool() {
  std::lock_guard<std::mutex> lock(pool_mutex);
  if (!pool) {
    static bool registered = false;
    if (!registered) // a forked child has no threads: it needs a new pool
      pthread_atfork([] { pool_mutex.lock(); }, [] { pool_mutex.unlock(); },
                     [] {
                       pool = nullptr;
                       pool_mutex.unlock();
                     });
    registered = true;
    pool = new Pool;
  }
  return *pool;
}

} // namespace

void Team::barrier() {
  if (size == 1) return;
  const int mine = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
  if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == size) {
    __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&generation, mine + 1, __ATOMIC_RELEASE);
    return;
  }
  for (int i = 0; __atomic_load_n(&generation, __ATOMIC_ACQUIRE) == mine; i++) {
    if (i < kSpins) pause();
    else sched_yield();
    if (failed()) throw Aborted();
  }
}

void Team::run_member(void (*body)(void *, Team &, int), void *context, int id) {
  try {
    body(context, *this, id);
  } catch (const std::bad_alloc &) {
    __atomic_store_n(&aborted, true, __ATOMIC_RELEASE);
  } catch (const Aborted &) {
  }
}

void run(int threads, void (*body)(void *, Team &, int), void *context) {
  Team alone(1);
  if (threads <= 1) return body(context, alone, 0);
  Pool &p = shared_pool();
  std::unique_lock<std::mutex> lock(p.in_use, std::try_to_lock);
  if (!lock.owns_lock()) return body(context, alone, 0);
  Team team(p.start(threads));
  {
    std::lock_guard<std::mutex> lock(p.mutex);
    p.job = {body, context, &team};
    p.running.store(p.workers, std::memory_order_relaxed);
    p.serial.fetch_add(1, std::memory_order_release);
  }
  p.wake.notify_all();
  team.run_member(body, context, 0);
  for (int i = 0; i < kSpins && p.running.load(std::memory_order_acquire); i++) pause();
  {
    std::unique_lock<std::mutex> lock(p.mutex);
    p.done.wait(lock, [&] { return p.running.load(std::memory_order_acquire) == 0; });
  }
  if (team.failed()) throw std::bad_alloc();
}

} // namespace tgrnn
