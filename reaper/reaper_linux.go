package reaper

// What the reaper asks of the kernel, and since when Linux has it:
//
//	v2.6.9 waitid, and WNOWAIT: look at a zombie and leave it one
//	v3.4   PR_SET_CHILD_SUBREAPER
//	v3.5   /proc/<pid>/task/<tid>/children (CONFIG_CHECKPOINT_RESTORE;
//	       CONFIG_PROC_CHILDREN since v4.2)
//	v4.1   NSpid in /proc/<pid>/status
//	v5.2   CLONE_PIDFD: the parent has the pidfd before the child runs
//	v5.3   pidfd_open
//	v5.4   waitid(P_PIDFD), which also tells a pidfd (of a child or not)
//	       from every other descriptor (EBADF)
//
// An orphan becomes the child of the first living thread of its new parent,
// which is the leader as long as that lives (kernel/exit.c, find_new_reaper),
// and the Go runtime never lets it end. A child that this process forks
// belongs to the thread that forked it, until that thread ends; then it moves
// to the leader too. Waiting is not bound to threads: waitid finds the
// children of all of them, the calling thread's first.
//
// pidfs, since v6.9, gives every process an inode that fstat could compare.
// It is not used: waitid answers the same question on every kernel that has
// pidfds, in less time, and without calling into a file system or a driver,
// some of which can hang (fstat on a dead NFS server).

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// process is what there is one of in a process, however many Reapers a
// program makes: its children, and the state of being a subreaper.
var process struct {
	// Held during a sweep. A sweep opens pidfds of zombies, and two at a
	// time would take each other's for owners.
	sync.Mutex
	sweeper *sweeper // of the Reaper that is running, or nil

	adopting     int  // how many want this process to be a subreaper
	wasSubreaper bool // what it was before the first of them
}

var errRunning = errors.New("reaper: Run: a Reaper is running in this process already")

func (r *Reaper) run(ctx context.Context) error {
	return r.runPatiently(ctx, patience)
}

func (r *Reaper) runPatiently(ctx context.Context, patience time.Duration) error {
	s, err := newSweeper(r, patience)
	if err != nil {
		r.logger().Warn("reaper: orphans are not collected", "err", err)
		return err
	}
	defer s.close()
	if r.Subreaper && os.Getpid() != 1 {
		release, err := adopt()
		if err != nil {
			return fmt.Errorf("reaper: Run: become a subreaper: %w", err)
		}
		defer release()
	}
	if r.OnReap != nil {
		s.queue = newQueue(r.OnReap, r.logger())
		defer s.queue.close(100 * time.Millisecond)
	}
	if err := s.register(); err != nil {
		return err
	}
	defer s.unregister()
	r.logger().Debug("reaper: collecting orphans", "pid1", os.Getpid() == 1, "subreaper", isSubreaper(),
		"pidfds", s.descriptors != nil, "children", s.leader != nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.loop(ctx)
	}()
	<-ctx.Done()
	s.rouse(ended)
	return nil
}

// The waits between looks at a zombie whose owner may let go of it silently.
const (
	minBackoff = 10 * time.Millisecond
	maxBackoff = 10 * time.Second
)

// deaf is the rest from which on no signals are heard. To stop hearing them, and
// to begin again, takes as long as hearing two or three.
const deaf = 10 * time.Millisecond

func (s *sweeper) loop(ctx context.Context) {
	// One slot is enough: SIGCHLDs coalesce in the kernel as well, so each
	// stands for any number of deaths, and one that comes during a sweep
	// waits in the slot for the next.
	child := make(chan os.Signal, 1)
	signal.Notify(child, unix.SIGCHLD)
	defer signal.Stop(child)

	backoff := minBackoff
	for {
		// The first sweep comes at once: orphans may be older than we are.
		out := s.lockedSweep()

		var again <-chan time.Time // nil, so no timer, when nothing dead is left
		switch {
		case out.left && out.collected > 0: // on while it helps
			again, backoff = time.After(0), minBackoff
		case out.left:
			again = time.After(min(backoff, max(out.ripe, minBackoff)))
		}
		// After an orphan the next death is awaited in the kernel, which tells
		// of it sooner. After a command it is by signal: that comes when the
		// owner has collected the command, so that there is nothing to look at.
		if out.collected > 0 && !out.left && s.awaitDeath(ctx) {
			backoff = minBackoff
		} else {
			select {
			case <-ctx.Done():
			case <-child:
				backoff = minBackoff
			case <-again:
				backoff = min(2*backoff, maxBackoff)
			}
		}
		if ctx.Err() != nil {
			return
		}

		// The rest is taken now and not after the sweep: mostly it is over
		// when the next child dies.
		if rest := time.Until(out.next); rest > 0 {
			// In a long one the deaths of many more children change nothing,
			// and each signal takes the runtime longer than collecting one.
			if rest > deaf {
				signal.Stop(child)
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(rest):
			}
			if rest > deaf {
				signal.Notify(child, unix.SIGCHLD)
			}
		}
	}
}

// awaitDeath blocks while all children live. It returns false at once where
// there is none, and when ctx has ended. Only a signal tells then of a death.
//
// A signal takes three threads until a goroutine has it: the one that the kernel
// interrupts, the one that os/signal receives on, and the one that runs the
// receiver. This thread is woken by the kernel itself.
func (s *sweeper) awaitDeath(ctx context.Context) bool {
	s.waiting.Store(true)
	defer s.waiting.Store(false)
	if ctx.Err() != nil { // after waiting is set: rouse looks at it when ctx has ended
		return false
	}
	return unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil) == nil
}

// rouse waits until the loop has ended, and ends awaitDeath for it. No signal
// does: the runtime's handlers have waitid restarted (SA_RESTART). So a child has
// to die, and one that cannot be executed does. If syscall.ForkExec collects it
// before the other thread has seen it, the next one will do.
//
// Where no child can be made, rouse gives up, and the thread sleeps on until the
// next death. It ends then, and touches nothing. A sweep is never given up.
func (s *sweeper) rouse(ended <-chan struct{}) {
	for tries := 0; tries < 100; {
		if s.waiting.Load() {
			syscall.ForkExec("", nil, nil)
			tries++
		}
		select {
		case <-ended:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// An outlook is what a sweep leaves to the next one.
type outlook struct {
	collected int
	left      bool          // something is dead that was not collected
	ripe      time.Duration // until time alone allows to collect a zombie
	next      time.Time     // the pace allows no sweep before
}

func (s *sweeper) lockedSweep() outlook {
	process.Lock()
	defer process.Unlock()
	collected, left := s.sweep()
	return outlook{collected, left, s.nextRipe(time.Now()), s.pace.next()}
}

func (s *sweeper) register() error {
	process.Lock()
	defer process.Unlock()
	if process.sweeper != nil {
		return errRunning
	}
	process.sweeper = s
	return nil
}

func (s *sweeper) unregister() {
	process.Lock()
	defer process.Unlock()
	process.sweeper = nil
}

// adopt makes this process a subreaper until release is called.
func adopt() (release func(), err error) {
	process.Lock()
	defer process.Unlock()
	if process.adopting == 0 {
		process.wasSubreaper = isSubreaper()
		if err := setSubreaper(true); err != nil {
			return nil, err
		}
	}
	process.adopting++
	return func() {
		process.Lock()
		defer process.Unlock()
		if process.adopting--; process.adopting == 0 {
			setSubreaper(process.wasSubreaper)
		}
	}, nil
}

func isSubreaper() bool {
	var on int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&on)), 0, 0, 0)
	return err == nil && on != 0
}

func setSubreaper(on bool) error {
	var arg uintptr
	if on {
		arg = 1
	}
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, arg, 0, 0, 0)
}
