// SPDX-License-Identifier: MIT

package reaper

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

// A zombie is a dead child.
type zombie struct {
	pid    int
	fd     int  // a pidfd of it, -1 where there are none
	leader bool // it is a child of the leader thread
}

// A sighting is of a zombie that must be old before it is collected: it is due at
// a time. start distinguishes it from a later process with the same number.
type sighting struct {
	due   time.Time
	start uint64
}

// batchSize is how many pidfds a sweep holds at a time: few beside the usual
// limit of 1024 descriptors, or beside those that the program has anyway, and
// enough to share the cost of a pass.
func (s *sweeper) batchSize() int {
	return 64 + s.descriptors.count()/16
}

// open opens a pidfd of each, and keeps those that are dead. If a number was
// given to another process since it was listed, it means that process from here
// on. (It need not be the leader's child. But it would have to get the number,
// live and die within the sweep, after all other numbers were used.)
func (s *sweeper) open(dead []zombie) (batch []zombie) {
	for _, z := range dead {
		if s.descriptors != nil && !s.noOpen {
			fd, err := s.openPidfd(z.pid, len(batch) == 0)
			switch {
			case err == nil:
				z.fd = fd
			case linux.NoDescriptor(err) || err == unix.ENOMEM:
				s.warnFull(err)
				return batch // those that we have; the others next time
			case s.isDead(z): // and not gone, as after ESRCH, or EINVAL and ENOENT in a race
				s.noOpen = true
				s.warnRefused("pidfd_open", err)
				continue
			default:
				continue
			}
		}
		if !s.isDead(z) {
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
		s.warn("reaper: no descriptor left for pidfds, orphans are collected one by one", "error", err)
	}
}

func (s *sweeper) warnRefused(call string, err error) {
	s.warn("reaper: this system refuses a system call now, a seccomp filter probably:"+
		" dead orphans are collected late", "call", call, "error", err, "after", s.patience)
}

// unknown is what firstDead returns where waitid is refused.
const unknown = -1

// firstDead returns the first child that is dead, regardless of its owner, or 0.
func (s *sweeper) firstDead() (pid int) {
	if s.noWait {
		return unknown
	}
	pid, err := linux.PeekAny()
	if err == nil {
		return pid
	}
	s.noWait = true
	s.warnRefused("waitid", err)
	if s.descriptors != nil { // waitid is how they are looked at
		s.descriptors.close()
		s.descriptors = nil
	}
	return unknown
}

// isDead reports whether z is dead and has not been waited for.
func (s *sweeper) isDead(z zombie) bool {
	if s.noWait {
		p, err := linux.ReadProcess(z.pid)
		return err == nil && p.Parent == os.Getpid() && p.Dead()
	}
	return linux.Peek(z.id()) == z.pid
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
	s.work.passes++
	return s.descriptors.visit(func(fd int) {
		if !isChild(fd) || ours[fd] {
			return // no pidfd of a child: the common case
		}
		// A zombie keeps its number, so the number identifies it.
		if pid := linux.Peek(unix.P_PIDFD, fd); dead[pid] {
			owner[pid] = fd
		}
	})
}

// spare leaves z to its owner, who holds the pidfd fd. It need not get old.
func (s *sweeper) spare(z zombie, fd int) {
	s.held[z.pid] = fd
	delete(s.seen, z.pid)
	s.work.spared++
}

// mayReap reports whether z, of which no owner is known, may be collected: at
// once when both facts are known, else when it has been a zombie for long.
func (s *sweeper) mayReap(z zombie) bool {
	if s.factsKnown(z) {
		return true
	}
	p, err := linux.ReadProcess(z.pid)
	if err != nil {
		return false
	}
	first, known := s.seen[z.pid]
	if !known || p.Start != first.start {
		s.seen[z.pid] = sighting{time.Now().Add(s.patienceWith(z)), p.Start}
		return false
	}
	return !s.tooYoung(z)
}

// patienceWith is how long z is left to an owner that may exist.
func (s *sweeper) patienceWith(z zombie) time.Duration {
	if z.leader || s.leader == nil {
		return s.patience
	}
	return s.othersPatience
}

// factsKnown reports whether both facts can be established for z. Without a pidfd
// of ours it could have been collected, and its number been given to a child of
// somebody else.
func (s *sweeper) factsKnown(z zombie) bool {
	return z.leader && s.descriptors != nil && !s.noOpen
}

// tooYoung reports whether z has to be left for longer, with or without an owner.
func (s *sweeper) tooYoung(z zombie) bool {
	first, known := s.seen[z.pid]
	return known && !s.factsKnown(z) && time.Now().Before(first.due)
}

// collect waits for exactly this process.
func (s *sweeper) collect(z zombie) bool {
	idType, id := z.id()
	e, ok := reap(idType, id)
	if !ok {
		return false
	}
	delete(s.seen, z.pid)
	s.r.count(func(st *Stats) { st.Reaped++ }) // before OnReap can ask
	if s.queue != nil && !s.queue.put(e) {
		s.r.count(func(st *Stats) { st.Dropped++ })
		if !s.queueFull {
			s.queueFull = true
			s.warn("reaper: OnReap is too slow, exits are dropped; Stats.Dropped counts them", "queue", queueLen)
		}
	}
	return true
}

func (z zombie) id() (idType, id int) {
	if z.fd < 0 {
		return unix.P_PID, z.pid
	}
	return unix.P_PIDFD, z.fd
}

func (z zombie) close() {
	if z.fd >= 0 {
		syscall.Close(z.fd)
	}
}
