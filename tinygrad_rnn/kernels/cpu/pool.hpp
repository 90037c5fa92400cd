// Threads that wait for work: a team runs one function, and may meet at a barrier.
//
// The pool's threads are started when first asked for and never more than that. A call that finds
// the pool busy (from another Python thread) runs alone; after fork the child starts its own.
#pragma once

namespace tgrnn {

class Team {
public:
  Team(int size) : size(size) {}
  const int size;
  void barrier(); // until all of the team have come here

private:
  int arrived = 0, turn = 0;
};

// Calls body(context, team, id) for id = 0 .. team.size - 1, each in a thread of its own.
void run(int threads, void (*body)(void *, Team &, int), void *context);

} // namespace tgrnn
