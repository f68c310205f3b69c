/*
 * Why the reaper never takes a status that somebody waits for, and why no zombie
 * stays: a model for spin (spinroot.com) of the race that package reaper is about.
 * ./check runs it, and the three versions that look simpler and are wrong:
 *
 *	-DONE_PASS  one pass over the descriptors in place of two
 *	-DWAIT_ANY  wait4(-1)
 *	-DBY_PID    no pidfd of the zombie: its number alone
 *
 * A step is what the kernel does at once. Between any two steps of one process the
 * others may make any number of theirs. There are two numbers for three processes,
 * so numbers are used again, and three descriptors.
 */

#define PROCESSES 3	/* 0 and 1 are children of the owner, 2 is an orphan */
#define NUMBERS 2
#define DESCRIPTORS 3
#define NONE 255

#ifdef ONE_PASS
#define PASSES 1
#else
#define PASSES 2
#endif

mtype = { NEW, ALIVE, ZOMBIE, GONE };
mtype state[PROCESSES] = NEW;
bool owned[PROCESSES];		/* somebody is going to wait for it */
byte number[PROCESSES];		/* its PID */
byte user[NUMBERS] = NONE;	/* the process that has a PID */
byte pidfd[DESCRIPTORS] = NONE;	/* the process that a descriptor refers to, as long as it is open */
bool done;

/* The kernel forks: any number that is free. */
inline fork(p) {
	if
	:: user[0] == NONE -> number[p] = 0
	:: user[1] == NONE -> number[p] = 1
	fi;
	user[number[p]] = p;
	state[p] = ALIVE
}

/* The lowest free descriptor is one of these, as others are opened and closed. */
inline freeDescriptor(d) {
	if
	:: pidfd[0] == NONE -> d = 0
	:: pidfd[1] == NONE -> d = 1
	:: pidfd[2] == NONE -> d = 2
	fi
}

/* The kernel gives the status of a zombie to whoever waits, and frees its number. */
inline collect(p) {
	state[p] = GONE;
	user[number[p]] = NONE
}

/* Package os, and the code that uses it. */
proctype Owner() {
	byte child = 0;
	byte descriptor, copy;
	do
	:: child == 2 -> break
	:: else ->
		/* clone(CLONE_PIDFD): the pidfd is there before the child runs. */
		atomic {
			fork(child);
			owned[child] = true;
			freeDescriptor(descriptor);
			pidfd[descriptor] = child
		}
		/* SysProcAttr.PidFD: package os has a copy, and the caller may close
		 * the first. So the pidfd moves, once, and perhaps downwards. */
		if
		:: atomic { freeDescriptor(copy); pidfd[copy] = child };
		   pidfd[descriptor] = NONE;
		   descriptor = copy
		:: skip
		fi;
		if
		:: /* Wait, now or later: it blocks while the child lives. */
		   atomic {
			state[child] != ALIVE ->
			assert(state[child] == ZOMBIE);	/* else its status was stolen */
			collect(child);
			owned[child] = false
		   }
		   pidfd[descriptor] = NONE
		:: /* Release: nobody can wait any more. */
		   atomic { owned[child] = false; pidfd[descriptor] = NONE }
		fi;
		child++
	od
}

proctype Orphan() { atomic { fork(2) } }

/* Every process dies when it likes. */
proctype Life(byte p) { atomic { state[p] == ALIVE -> state[p] = ZOMBIE } }

inline someZombie(p) {
	if
	:: state[0] == ZOMBIE -> p = 0
	:: state[1] == ZOMBIE -> p = 1
	:: state[2] == ZOMBIE -> p = 2
	fi
}

proctype Reaper() {
	byte zombie, seen, pass, descriptor;
	bool found;
	do
	:: atomic {
		state[0] == GONE && state[1] == GONE && state[2] == GONE ->
		done = true;
		break
	   }
#ifdef WAIT_ANY
	:: atomic {
		someZombie(zombie);
		assert(!owned[zombie]);
		collect(zombie)
	   }
#else
	:: /* waitid(P_ALL, WNOWAIT), or a list of children: a number. */
	   atomic { someZombie(zombie); seen = number[zombie] }
#ifndef BY_PID
	   /* pidfd_open: whoever has that number by now. It must be dead. */
	   zombie = user[seen];
	   if
	   :: zombie != NONE && state[zombie] == ZOMBIE -> skip
	   :: else -> goto next
	   fi;
#endif
	   found = false;
	   pass = 0;
	   do
	   :: pass == PASSES -> break
	   :: else ->
		descriptor = 0;
		do
		:: descriptor == DESCRIPTORS -> break
		:: else ->
			/* waitid(P_PIDFD, WNOWAIT) gives the number of a zombie. */
			atomic {
				if
				:: pidfd[descriptor] != NONE ->
					found = found || (state[pidfd[descriptor]] == ZOMBIE && number[pidfd[descriptor]] == seen)
				:: else -> skip
				fi;
				descriptor++
			}
		od;
		pass++
	   od;
	   /* Nobody holds a pidfd of it: waitid(P_PIDFD, WNOHANG). */
	   atomic {
#ifdef BY_PID
		zombie = user[seen];
#endif
		if
		:: !found && zombie != NONE && state[zombie] == ZOMBIE ->
			assert(!owned[zombie]);
			collect(zombie)
		:: else -> skip
		fi
	   }
	   next: skip
#endif
	od
}

init {
	atomic {
		run Owner(); run Orphan(); run Reaper();
		run Life(0); run Life(1); run Life(2)
	}
}

/* No zombie stays: all processes end, and all of them are collected. */
ltl noZombieStays { <> done }
