// SPDX-License-Identifier: MIT

package reaper

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

const (
	// shortPass is how many descriptors a pass examines in some 20 µs.
	shortPass = 128

	// othersEvery is the least time between two lists of the children of the
	// threads that cannot have orphans. A program may have hundreds of threads.
	othersEvery = time.Second
)

// A timing is how long a Reaper waits for what it cannot know.
type timing struct {
	// patience is how long a zombie is left to an owner that may exist. An
	// owner that waits collects it in microseconds, a busy one in seconds.
	patience time.Duration

	// othersPatience is that for a child of another thread than the first. It
	// is no orphan, so mostly it has an owner: C code that called popen, and
	// calls pclose when it has done other work.
	othersPatience time.Duration

	// check is the time until the first look whether a SIGCHLD has not arrived.
	check time.Duration
}

var standard = timing{patience: 30 * time.Second, othersPatience: 5 * time.Minute, check: 10 * time.Second}

// A sweeper finds the orphans among the dead children and collects them.
type sweeper struct {
	r           *Reaper
	queue       *queue       // nil: no OnReap
	leader      *children    // of the first thread; nil: the kernel does not list them
	descriptors *descriptors // nil: package os has no pidfds

	// In case that no descriptor is left. A Terminate without a Reaper has none.
	forPidfd, forTerminate reserve

	held     map[int]int      // dead child that has an owner → the owner's pidfd
	seen     map[int]sighting // zombies that must be old before they are collected
	othersAt time.Time        // when the children of all threads were listed

	waiting     atomic.Int32 // the thread in awaitDeath, or 0
	signalsLost bool         // no SIGCHLD came when a child died
	pace        pace
	timing

	warnings                    []warning // to be logged when process is unlocked: a log may block
	lossLogged, full, queueFull bool      // these are logged once

	work struct { // for tests
		sweeps, passes, spared int
		busy                   time.Duration
	}

	// What a seccomp filter refuses that was installed later than newSweeper.
	noOpen bool // pidfd_open
	noWait bool // waitid
}

func newSweeper(r *Reaper, t timing) (*sweeper, error) {
	if err := linux.CheckProc(); err != nil {
		return nil, fmt.Errorf("reaper: Run: %w", err)
	}
	s := &sweeper{r: r, timing: t, held: map[int]int{}, seen: map[int]sighting{}}
	runtime.LockOSThread() // processorTime is the thread's
	defer runtime.UnlockOSThread()
	start := processorTime() // the first list costs time, too
	d, err := openDescriptors()
	if err != nil {
		return nil, err
	}
	s.pace.spend(time.Now(), processorTime()-start, 0)
	has, err := d.osHasPidfds()
	if err != nil {
		d.close()
		return nil, err
	}
	if s.descriptors = d; !has {
		s.descriptors = nil
		d.close()
		r.warn("reaper: no pidfds on this system: dead orphans look like children"+
			" that somebody waits for, and are collected late", "after", t.patience)
	}
	s.leader, err = openChildren(os.Getpid())
	switch {
	case errors.Is(err, os.ErrNotExist):
		r.warn("reaper: no /proc/<pid>/task/<tid>/children on this system:"+
			" dead orphans are collected late", "after", t.patience)
	case err != nil:
		s.close()
		return nil, err
	}
	return s, nil
}

// warn makes a warning. The loop logs it.
func (s *sweeper) warn(message string, args ...any) {
	s.warnings = append(s.warnings, warning{message, args})
}

type warning struct {
	message string
	args    []any
}

func (s *sweeper) close() {
	s.forPidfd.give()
	s.forTerminate.give()
	if s.descriptors != nil {
		s.descriptors.close()
	}
	if s.leader != nil {
		s.leader.close()
	}
}

// sweep collects what may be collected. It returns how many it collected, and
// whether dead children are left, with an owner or not examined.
func (s *sweeper) sweep() (collected int, left bool) {
	runtime.LockOSThread() // processorTime is the thread's
	defer runtime.UnlockOSThread()
	start, startTime := processorTime(), time.Now()

	// One system call when nothing is dead, as after most deaths of children
	// whose owner was waiting.
	first := s.firstDead()
	for all := false; first != 0; all = true {
		n, complete := s.round(first, all)
		collected += n
		if first = s.firstDead(); complete {
			break
		}
	}
	if first == unknown && len(s.seen) == 0 {
		first = 0
	}
	if first == 0 && len(s.held)+len(s.seen) > 0 {
		s.held, s.seen = map[int]int{}, map[int]sighting{}
	}

	busy := processorTime() - start
	if s.leader == nil {
		// Some kernels that do not list children count processor time in ticks
		// (gVisor). There is no hurry on them.
		busy = time.Since(startTime)
	}
	s.pace.spend(time.Now(), busy, collected)
	s.work.sweeps++
	s.work.busy += busy
	return collected, first != 0
}

// round decides which zombies are collected. Three ways that look simpler
// and are wrong:
//
//   - wait4(-1) takes any dead child, also one whose owner is about to ask
//     for its exit status.
//   - waitid(P_ALL, WNOWAIT) returns the first dead child, and the same one the
//     next time: a single child that is never waited for hides all others.
//   - Waiting for a PID: between peek and wait its owner may collect it, and
//     the number may be given to a new child of somebody else.
func (s *sweeper) round(first int, all bool) (collected int, complete bool) {
	// Fact 1: an orphan is a child of the leader.
	candidates, complete := s.candidates(first, all)
	for size := s.batchSize(); len(candidates) > 0; candidates = candidates[size:] {
		size = min(size, len(candidates))
		// The pidfd pins the process, which is dead by now: an owner, if there
		// is one, has had its pidfd for long.
		reserved := s.forPidfd.held
		batch := s.open(candidates[:size])

		// Fact 2: nobody holds a pidfd of it. Package os has the pidfd of a
		// child before the child runs, and closes it when Wait has returned or
		// when nobody can call Wait any more. So either the pidfd of a dead
		// child is found, or nobody will wait for it.
		//
		// Numbers are visited upwards, so a pidfd that moves down meanwhile is
		// missed: package os duplicates the one that a caller asked for with
		// SysProcAttr.PidFD, and the caller may close the first. It moves once,
		// so a second pass finds it.
		owner := map[int]int{}
		err := s.findOwners(owner, batch)
		if err == nil && len(owner) < len(batch) {
			err = s.findOwners(owner, batch)
		}

		for _, z := range batch {
			if fd, owned := owner[z.pid]; owned {
				s.spare(z, fd)
			} else if err == nil && s.mayReap(z) && s.collect(z) {
				collected++
			}
			z.close()
		}
		s.restoreReserve(reserved)
	}
	return collected, complete
}

// candidates returns the children that are dead, except those known to have an
// owner. Mostly there is one, the first that the kernel returns. So where a pass
// over the descriptors takes no time, that is the only candidate, unless all is
// set or it is not the leader's. complete is true if all children were listed.
func (s *sweeper) candidates(first int, all bool) (dead []zombie, complete bool) {
	until := 0
	if !all && first != unknown && s.descriptors.count() <= shortPass {
		until = first
	}
	children := s.children(until)
	if n := len(children); until != 0 && n > 0 && children[n-1].pid == until {
		children = children[n-1:]
	} else {
		complete = true
		if others, due := s.othersChildren(); due {
			children = append(children, others...)
			s.forget()
		}
	}
	for _, z := range children {
		// While its owner's pidfd still shows this zombie, no pass is needed.
		if fd, ok := s.held[z.pid]; ok && linux.Peek(unix.P_PIDFD, fd) == z.pid {
			continue
		}
		delete(s.held, z.pid)
		if !s.tooYoung(z) && (z.pid == first || s.isDead(z)) {
			dead = append(dead, z)
		}
	}
	return dead, complete
}

// children returns the children of the leader, up to the one with this PID if it
// is among them. 0 is none.
func (s *sweeper) children(until int) (children []zombie) {
	if s.leader != nil {
		pids := s.leader.list(until)
		children = make([]zombie, len(pids))
		for i, pid := range pids {
			children[i] = zombie{pid, -1, true}
		}
	}
	return children
}

// othersChildren returns, now and then, the children of the other threads: a
// child that was released while it lived (os.Process.Release) is nobody's when
// it dies, although it is no orphan. Where the kernel does not list children by
// thread, it returns all.
func (s *sweeper) othersChildren() (children []zombie, due bool) {
	now := time.Now()
	var list []int
	if s.leader == nil {
		list = childrenByParent()
	} else {
		if now.Sub(s.othersAt) < othersEvery && s.mayReapIn(now) > 0 {
			return nil, false
		}
		list, _ = childrenOfOthers()
	}
	s.othersAt = now
	for _, pid := range list {
		children = append(children, zombie{pid, -1, false})
	}
	return children, true
}

// forget drops what is known about zombies that are gone. The lists of children do
// not tell: they may lack some while others come and go.
func (s *sweeper) forget() {
	for pid, fd := range s.held {
		if linux.Peek(unix.P_PIDFD, fd) != pid {
			delete(s.held, pid)
		}
	}
	for pid := range s.seen {
		if !s.isDead(zombie{pid: pid, fd: -1}) {
			delete(s.seen, pid)
		}
	}
}
