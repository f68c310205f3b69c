// SPDX-License-Identifier: MIT

package reaper

import (
	"context"
	"math"
	"os"
	"os/signal"
	"runtime"
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

// The waits between looks at nothing: a SIGCHLD may not have arrived. The first is
// timing.check.
const (
	maxCheck  = time.Minute
	lossCheck = time.Second // when one is known not to have arrived

	// A signal may arrive later than a death is seen, on a busy machine much later.
	// So it has a few moments, in each of which this process runs.
	signalMoments = 10
	signalMoment  = 10 * time.Millisecond
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

	backoff, check := minBackoff, s.check
	for {
		// The first sweep comes at once: orphans may be older than we are.
		out := s.lockedSweep()

		for _, w := range out.warnings {
			s.r.warn(w.message, w.args...)
		}
		if out.left && out.collected > 0 {
			backoff = minBackoff
		}
		// After an orphan the next death is awaited in the kernel, which is
		// faster. After a command it is awaited by signal: that comes when the
		// owner has collected the command, so that there is nothing to find.
		if !out.left && (out.collected > 0 || s.signalsLost) && s.awaitDeath(ctx) {
			backoff, check = minBackoff, s.check
		} else {
			select {
			case <-ctx.Done():
			case <-child:
				s.signalsLost = false
				backoff, check = minBackoff, s.check
			case <-time.After(s.sweepAfter(out, backoff, check)):
				s.listenAgain(child, !out.left)
				backoff, check = min(2*backoff, maxBackoff), min(2*check, maxCheck)
			}
		}
		// The rest is taken now and not after the sweep: mostly it is over
		// when the next child dies.
		if ctx.Err() != nil || !rest(ctx, time.Until(out.next), child) {
			return
		}
	}
}

// sweepAfter is how long the loop waits for a sign before it sweeps without one.
func (s *sweeper) sweepAfter(out sweepResult, backoff, check time.Duration) time.Duration {
	wait := check
	switch {
	case out.left && out.collected > 0: // on while it helps
		return 0
	case out.left:
		wait = min(backoff, max(out.mayReapIn, minBackoff))
	}
	if s.signalsLost {
		return min(wait, lossCheck)
	}
	return wait
}

// listenAgain asks for SIGCHLD once more, in case that signal.Reset has undone it
// for everybody. If all children lived before, and one is dead by now, then a
// signal must have come; if none has, that is logged. (C code may have a handler
// of its own, so to ask is not enough.)
func (s *sweeper) listenAgain(child chan os.Signal, allLived bool) {
	signal.Notify(child, unix.SIGCHLD)
	if s.signalsLost || !allLived {
		return
	}
	if dead, err := linux.PeekAny(); err != nil || dead == 0 {
		return
	}
	for range signalMoments {
		select {
		case <-child:
			return
		case <-time.After(signalMoment):
		}
	}
	s.signalsLost = true
	if !s.lossLogged {
		s.lossLogged = true
		s.r.warn("reaper: no SIGCHLD came when a child died: something in this program has called signal.Reset," +
			" or C code has a handler of its own; orphans are collected, some of them a second late")
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
	runtime.LockOSThread() // for wake
	defer runtime.UnlockOSThread()
	s.waiting.Store(int32(syscall.Gettid()))
	defer s.waiting.Store(0)
	for ctx.Err() == nil { // after waiting is set: wake reads it when ctx has ended
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err == nil
		}
	}
	return false
}

// wake ends awaitDeath, and returns when the loop has ended. Nothing is forked to
// that end: a fork may hang, or wait for one that hangs (syscall.ForkLock).
//
// A thread that is about to sleep is not interrupted yet; the next signal will do.
// One that cannot be interrupted sleeps on until the next death. Then it ends, and
// touches nothing. wake never gives up a sweep.
func (s *sweeper) wake(ended <-chan struct{}) {
	for tries := 0; tries < 100; {
		restore := func() {}
		if tid := s.waiting.Load(); tid != 0 {
			restore = linux.Interrupt(int(tid))
			tries++
		}
		select {
		case <-ended:
			restore()
			return
		case <-time.After(time.Millisecond):
			restore()
		}
	}
}

// A sweepResult is what the loop has to know after a sweep.
type sweepResult struct {
	collected int
	left      bool          // something is dead that was not collected
	mayReapIn time.Duration // until time alone allows to reap one of those
	next      time.Time     // the pace allows no sweep before
	warnings  []warning     // to be logged without the lock
}

func (s *sweeper) lockedSweep() sweepResult {
	process.Lock()
	defer process.Unlock()
	collected, left := s.sweep()
	warnings := s.warnings
	s.warnings = nil
	return sweepResult{collected, left, s.mayReapIn(time.Now()), s.pace.next(), warnings}
}

// mayReapIn is how long it takes until the first zombie has been seen for long
// enough.
func (s *sweeper) mayReapIn(now time.Time) time.Duration {
	next := time.Duration(math.MaxInt64)
	for _, first := range s.seen {
		next = min(next, first.due.Sub(now))
	}
	return next
}
