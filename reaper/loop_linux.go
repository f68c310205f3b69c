package reaper

import (
	"context"
	"math"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

// The waits between sweeps while a zombie is left whose owner may release it
// without a sign.
const (
	minBackoff = 10 * time.Millisecond
	maxBackoff = 10 * time.Second
)

// quietRest is how long a rest has to be for SIGCHLD to be turned off during it.
// Turning it off and on again takes as long as receiving two or three.
const quietRest = 10 * time.Millisecond

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
			again = time.After(min(backoff, max(out.mayReapIn, minBackoff)))
		}
		// After an orphan the next death is awaited in the kernel, which is
		// faster. After a command it is awaited by signal: that comes when the
		// owner has collected the command, so that there is nothing to find.
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
		// The rest is taken now and not after the sweep: mostly it is over
		// when the next child dies.
		if ctx.Err() != nil || !rest(ctx, time.Until(out.next), child) {
			return
		}
	}
}

// rest waits for d, and returns false when ctx ends before. In a long rest the
// deaths of many more children change nothing, and each signal takes the runtime
// longer than collecting a child.
func rest(ctx context.Context, d time.Duration, child chan os.Signal) bool {
	if d <= 0 {
		return true
	}
	if d > quietRest {
		signal.Stop(child)
		defer signal.Notify(child, unix.SIGCHLD)
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// awaitDeath blocks while all children live. It returns false at once where there
// is no child, and when ctx has ended. Only a signal reports a death then.
//
// A signal takes three threads until a goroutine has it: the one that the kernel
// interrupts, the one that os/signal receives on, and the one that runs the
// receiver. This thread is woken by the kernel itself.
func (s *sweeper) awaitDeath(ctx context.Context) bool {
	s.waiting.Store(true)
	defer s.waiting.Store(false)
	if ctx.Err() != nil { // after waiting is set: wake reads it when ctx has ended
		return false
	}
	_, err := linux.Waitid(unix.P_ALL, 0, unix.WEXITED|unix.WNOWAIT)
	return err == nil
}

// wake ends awaitDeath, and returns when the loop has ended. A signal does not
// end it: the runtime's handlers have waitid restarted (SA_RESTART). So a child
// has to die, and one that cannot be executed does. If syscall.ForkExec collects
// it before the other thread has seen it, the next one will do.
//
// Where no child can be made, wake gives up, and the thread sleeps on until the
// next death. Then it ends, and touches nothing. wake never gives up a sweep.
func (s *sweeper) wake(ended <-chan struct{}) {
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

// A sweepResult is what the loop has to know after a sweep.
type sweepResult struct {
	collected int
	left      bool          // something is dead that was not collected
	mayReapIn time.Duration // until time alone allows to reap one of those
	next      time.Time     // the pace allows no sweep before
}

func (s *sweeper) lockedSweep() sweepResult {
	process.Lock()
	defer process.Unlock()
	collected, left := s.sweep()
	return sweepResult{collected, left, s.mayReapIn(time.Now()), s.pace.next()}
}

// mayReapIn is how long it takes until the first zombie has been seen for long
// enough.
func (s *sweeper) mayReapIn(now time.Time) time.Duration {
	next := time.Duration(math.MaxInt64)
	for _, first := range s.seen {
		next = min(next, s.patience-now.Sub(first.at))
	}
	return next
}
