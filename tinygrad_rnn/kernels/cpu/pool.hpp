// A thread pool: `run` calls one function on every thread of a team, which may meet at barriers.
//
// Threads are started on demand and kept. If the system refuses more, the team is smaller. While
// the pool is in use by another Python thread, a call runs on its own thread alone. After a fork
// the child starts a new pool. Exceptions other than std::bad_alloc must not leave the function.
#pragma once

namespace tgrnn {

class Team {
public:
  Team(int size) : size(size) {}
  const int size;
  void barrier(); // waits for all members; throws Aborted if one of them has failed
  void run_member(void (*body)(void *, Team &, int), void *context,
                  int id); // catches all exceptions
  bool failed() const { return __atomic_load_n(&aborted, __ATOMIC_ACQUIRE); }

private:
  struct Aborted {};
  int arrived = 0, generation = 0;
  bool aborted = false; // a member has thrown std::bad_alloc
};

// Calls body(context, team, id) for id = 0 .. team.size - 1, each on its own thread, of which the
// caller's is one, and returns when all have. Throws std::bad_alloc if one of them did.
void run(int threads, void (*body)(void *, Team &, int), void *context);

} // namespace tgrnn
