package reaper

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is how long a zombie is left to an owner that may exist. A
	// caller that waits collects it in microseconds, a busy one in seconds.
	patience = 30 * time.Second

	// shortPass is how many descriptors a pass looks at in some 20 µs.
	shortPass = 128

	// wideEvery is the least time between looks at the threads that cannot
	// have orphans. A program may have hundreds of them.
	wideEvery = time.Second
)

// A sweeper finds the orphans among the dead children and collects them.
type sweeper struct {
	r           *Reaper
	queue       *queue       // nil: nobody wants the exits
	leader      *children    // of the first thread; nil: the kernel does not list them
	descriptors *descriptors // nil: package os has no pidfds

	held map[int]int      // dead child that has an owner → the owner's pidfd
	seen map[int]sighting // zombies that must be old before they are collected
	wide time.Time        // when the children of all threads were looked at

	waiting  atomic.Bool // in awaitDeath
	pace     pace
	looked   int // at how many descriptors and children, in this sweep
	patience time.Duration
	full     bool // that descriptors ran out was logged
}

// A zombie is a dead child.
type zombie struct {
	pid    int
	fd     int  // a pidfd of it, -1 where there are none
	leader bool // it is a child of the leader thread
}

// A sighting is when a zombie was first seen. start tells it from a later
// process with the same number.
type sighting struct {
	at    time.Time
	start uint64
}

func newSweeper(r *Reaper, patience time.Duration) (*sweeper, error) {
	if err := checkProc(); err != nil {
		return nil, fmt.Errorf("reaper: Run: %w", err)
	}
	s := &sweeper{r: r, patience: patience, held: map[int]int{}, seen: map[int]sighting{}}
	runtime.LockOSThread() // processorTime is the thread's
	defer runtime.UnlockOSThread()
	start := processorTime() // the first list is a look at all of them, too
	d, err := openDescriptors()
	if err != nil {
		return nil, err
	}
	s.pace.spend(time.Now(), processorTime()-start, d.count(), 0)
	if s.descriptors = d; !d.osHasPidfds() {
		s.descriptors = nil
		d.close()
		r.logger().Warn("reaper: no pidfds on this system: dead orphans cannot be told from children"+
			" that somebody waits for, and are collected late", "after", patience)
	}
	s.leader, err = openChildren(os.Getpid())
	switch {
	case errors.Is(err, os.ErrNotExist):
		r.logger().Warn("reaper: no /proc/<pid>/task/<tid>/children on this system:"+
			" dead orphans are collected late", "after", patience)
	case err != nil:
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *sweeper) close() {
	if s.descriptors != nil {
		s.descriptors.close()
	}
	if s.leader != nil {
		s.leader.close()
	}
}

// sweep collects what may be collected. It reports how many that were, and
// whether dead children are left: those of others, and any not seen.
func (s *sweeper) sweep() (collected int, left bool) {
	runtime.LockOSThread() // processorTime is the thread's
	defer runtime.UnlockOSThread()
	start := processorTime()
	s.looked = 0

	// One system call when nothing is dead, as after most deaths of children
	// whose owner was waiting.
	first := firstDead()
	for all := false; first != 0; all = true {
		n, complete := s.round(first, all)
		collected += n
		if first = firstDead(); complete {
			break
		}
	}
	if first == 0 {
		clear(s.held)
		clear(s.seen)
	}

	busy := processorTime() - start
	s.pace.spend(time.Now(), busy, s.looked, collected)
	s.r.count(func(st *Stats) {
		st.Sweeps++
		st.Busy += busy
	})
	return collected, first != 0
}

// round decides which zombies are collected. Three ways that look simpler
// and are wrong:
//
//   - wait4(-1) takes any dead child, also one whose owner is about to ask
//     for its exit status.
//   - waitid(P_ALL, WNOWAIT) shows the first dead child and the same one the
//     next time: a single child that is never waited for hides all others.
//   - Waiting for a PID: between the look and the wait its owner may collect
//     it, and the number may be given to a new child of somebody else.
func (s *sweeper) round(first int, all bool) (collected int, complete bool) {
	// Fact 1: an orphan is a child of the leader.
	candidates, complete := s.candidates(first, all)
	for chunk := range slices.Chunk(candidates, s.batchSize()) {
		// The pidfd pins the process. It must be dead by now, before the
		// pass: see there.
		batch := s.open(chunk)

		// Fact 2: nobody holds a pidfd of it. Package os has the pidfd of a
		// child before the child runs, and closes it when Wait has returned
		// or when nobody can call Wait any more. So the pidfd of a child
		// that is dead is there, or will not be wanted again.
		//
		// Numbers are visited upwards. A pidfd that moves down meanwhile
		// passes us by: package os makes a duplicate of the one that a
		// caller asked for with SysProcAttr.PidFD, and the caller may close
		// his. It moves once, so a second pass finds it.
		owner := map[int]int{}
		err := s.findOwners(owner, batch)
		if err == nil && len(owner) < len(batch) {
			err = s.findOwners(owner, batch)
		}

		for _, z := range batch {
			if fd, owned := owner[z.pid]; owned {
				s.spare(z, fd)
			} else if err == nil && s.ripe(z) && s.collect(z) {
				collected++
			}
			z.close()
		}
	}
	return collected, complete
}

// candidates returns the children that are dead, except those known to have
// an owner. Mostly one is, the first that the kernel shows. So where a pass over
// the descriptors takes no time, that is the only candidate, unless all is set or
// it is not the leader's.
func (s *sweeper) candidates(first int, all bool) (dead []zombie, complete bool) {
	until := 0
	if !all && s.descriptors.count() <= shortPass {
		until = first
	}
	children := s.children(until)
	if n := len(children); until != 0 && n > 0 && children[n-1].pid == until {
		children = children[n-1:]
	} else {
		complete = true
		if others, due := s.othersChildren(); due {
			children = append(children, others...)
			s.forget(children)
		}
	}
	s.looked += len(children)
	for _, z := range children {
		// While its owner's pidfd tells of this zombie, no pass is needed.
		if fd, ok := s.held[z.pid]; ok && look(unix.P_PIDFD, fd) == z.pid {
			continue
		}
		delete(s.held, z.pid)
		if !s.tooYoung(z) && (z.pid == first || z.look() == z.pid) {
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

// othersChildren returns, now and then, the children of the other threads: one
// that was released while it lived (os.Process has Release) is nobody's when
// it dies, although no orphan. Where the kernel does not tell whose child is
// whose, it returns all.
func (s *sweeper) othersChildren() (children []zombie, due bool) {
	now := time.Now()
	list := childrenByParent
	if s.leader != nil {
		if now.Sub(s.wide) < wideEvery && s.nextRipe(now) > 0 {
			return nil, false
		}
		list = childrenOfOthers
	}
	s.wide = now
	for _, pid := range list() {
		children = append(children, zombie{pid, -1, false})
	}
	return children, true
}

// forget drops what is known about zombies that are not among these.
func (s *sweeper) forget(children []zombie) {
	there := make(map[int]bool, len(children))
	for _, z := range children {
		there[z.pid] = true
	}
	maps.DeleteFunc(s.held, func(pid, _ int) bool { return !there[pid] })
	maps.DeleteFunc(s.seen, func(pid int, _ sighting) bool { return !there[pid] })
}

// batchSize is how many pidfds a sweep holds at a time: few beside the usual
// limit of 1024 descriptors, or beside those that the program has anyway, and
// enough to share the cost of a pass.
func (s *sweeper) batchSize() int {
	return 64 + s.descriptors.count()/16
}

// open opens a pidfd of each, and keeps those that are dead. If a number has
// gone to another process since it was listed, it is that process from here
// on. (It need not be the leader's. But it would have to have got the number,
// lived and died within the sweep, after all other numbers were used.)
func (s *sweeper) open(dead []zombie) (batch []zombie) {
	for _, z := range dead {
		if s.descriptors != nil {
			fd, err := unix.PidfdOpen(z.pid, 0)
			if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
				s.warnFull(err)
				break // with those that we have; the others next time
			}
			if err != nil {
				continue // gone
			}
			z.fd = fd
		}
		if z.look() != z.pid {
			z.close()
			continue
		}
		batch = append(batch, z)
	}
	return batch
}

func (s *sweeper) warnFull(err error) {
	if !s.full {
		s.full = true
		s.r.logger().Warn("reaper: no descriptor left for a pidfd, orphans are collected when there is one", "err", err)
	}
}

// findOwners makes one pass over the descriptors, and adds to owner which of
// the batch somebody else holds a pidfd of, and that descriptor.
func (s *sweeper) findOwners(owner map[int]int, batch []zombie) error {
	if s.descriptors == nil || len(batch) == 0 {
		return nil
	}
	dead := make(map[int]bool, len(batch))
	ours := make(map[int]bool, len(batch))
	for _, z := range batch {
		dead[z.pid] = true
		ours[z.fd] = true
	}
	s.r.count(func(st *Stats) { st.Passes++ })
	defer func() { s.looked += s.descriptors.visited }()
	return s.descriptors.visit(func(fd int) {
		if ask(fd) != 0 || ours[fd] {
			return // no pidfd of a child: the common case
		}
		// A zombie keeps its number, so the number is enough to know it by.
		if pid := look(unix.P_PIDFD, fd); dead[pid] {
			owner[pid] = fd
		}
	})
}

func (s *sweeper) spare(z zombie, fd int) {
	s.held[z.pid] = fd
	s.r.count(func(st *Stats) { st.Spared++ })
}

// ripe reports whether z, of which no owner is known, may be collected: at
// once when both facts say so, else when it has long been seen as a zombie.
func (s *sweeper) ripe(z zombie) bool {
	if s.factsKnown(z) {
		return true
	}
	p, err := readProcess(z.pid)
	if err != nil {
		return false
	}
	first, known := s.seen[z.pid]
	if !known || p.start != first.start {
		s.seen[z.pid] = sighting{time.Now(), p.start}
		return false
	}
	return !s.tooYoung(z)
}

// factsKnown reports whether both facts can be told of z.
func (s *sweeper) factsKnown(z zombie) bool {
	return z.leader && s.descriptors != nil
}

// tooYoung reports whether z has to wait longer, whoever owns it.
func (s *sweeper) tooYoung(z zombie) bool {
	first, known := s.seen[z.pid]
	return known && !s.factsKnown(z) && time.Since(first.at) < s.patience
}

// nextRipe is how long it takes until the first zombie is ripe.
func (s *sweeper) nextRipe(now time.Time) time.Duration {
	next := time.Duration(math.MaxInt64)
	for _, first := range s.seen {
		next = min(next, s.patience-now.Sub(first.at))
	}
	return next
}

// collect takes the exit status of exactly this process.
func (s *sweeper) collect(z zombie) bool {
	idType, id := z.id()
	e, ok := wait(idType, id)
	if !ok {
		return false
	}
	delete(s.seen, z.pid)
	s.r.count(func(st *Stats) { st.Reaped++ }) // before OnReap can ask
	if s.queue != nil && !s.queue.put(e) {
		s.r.count(func(st *Stats) { st.Dropped++ })
	}
	return true
}

func (z zombie) id() (idType, id int) {
	if z.fd < 0 {
		return unix.P_PID, z.pid
	}
	return unix.P_PIDFD, z.fd
}

func (z zombie) look() (pid int) {
	return look(z.id())
}

func (z zombie) close() {
	if z.fd >= 0 {
		unix.Close(z.fd)
	}
}
