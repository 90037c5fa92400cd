// Threads that wait for work: a team runs one function, and may meet at a barrier.
//
// The pool's threads are started when first asked for and never more than that. Where the system
// gives no more of them, the team is smaller. A call that finds the pool busy (from another Python
// thread) runs alone; after fork the child starts its own.
#pragma once

namespace tgrnn {

class Team {
public:
  Team(int size) : size(size) {}
  const int size;
  void barrier(); // until all of the team have come here; throws Broken if one of them never will
  void part(void (*body)(void *, Team &, int), void *context, int id); // of one member: no exception leaves it
  bool failed() const { return __atomic_load_n(&broken, __ATOMIC_ACQUIRE); }

private:
  struct Broken {};
  int arrived = 0, turn = 0;
  bool broken = false; // a member found no memory
};

// Calls body(context, team, id) for id = 0 .. team.size - 1, each in a thread of its own. Throws
// std::bad_alloc, when all have ended, if one of them did.
void run(int threads, void (*body)(void *, Team &, int), void *context);

} // namespace tgrnn
