// SPDX-License-Identifier: MIT

package pid1

import (
	"context"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/term"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// One stop is told more than once: timeout(1) signals its child and then its
// process group, wrappers and shells pass on what the group has got already, and
// signal.NotifyContext around Run makes a signal end ctx, too. See docs/design.md,
// "One stop, told twice".
const (
	// repeatWindow is how long after a stop signal another one is the same stop
	// told again, and until repeatTicks are over after that: a process that was frozen
	// or starved sees late what came at once, but within a tick or two.
	repeatWindow = 500 * time.Millisecond
	repeatTick   = 50 * time.Millisecond
	repeatTicks  = 3

	// sameStop is how long after the end of ctx a signal is taken for its reason.
	sameStop = 100 * time.Millisecond
)

// A stop is the one stop of an App: what began it, and how it was hurried.
type stop struct {
	app     *App
	begun   <-chan struct{} // closed when the stop begins; App.Stopping returns it
	servers *servers
	manager *manager
	plan    shutdown.Plan // zero until the start has made it

	// childEnded is nil but in RunIsolated, whose child counts the stop signals until
	// then. It is a function so that *Child is linked by those who use it only.
	childEnded func() bool

	// start ends when the stop begins: the context of what precedes it.
	start       context.Context
	cancelStart context.CancelCauseFunc

	// forced ends when the stop is cut short. The pipeline runs under it.
	forced context.Context
	force  context.CancelCauseFunc

	mu        sync.Mutex    // guards the rest
	delay     delay         // before the servers stop; known before they serve
	serving   bool          // servers run
	ready     bool          // they take requests, or did when the stop began
	known     bool          // steps of OnReady may have told others where we are
	cause     error         // what began the stop; nil before
	at        time.Time     // when it began
	byContext time.Time     // when the end of ctx began the stop; else zero
	failures  []error       // the cause, unless the stop is clean, and what panicked later
	signaled  time.Time     // when the last stop signal that counts came
	repeats   int           // ticks after repeatWindow for which another one is the same
	forcedBy  error         // nil until force
	delayEnd  chan struct{} // closed to end the delay; nil when there is none to end
	hangup    *call         // of OnHangup; nil when none runs
	again     bool          // OnHangup is due once more
}

func newStop(ctx context.Context, a *App, servers *servers) *stop {
	s := &stop{app: a, servers: servers, manager: newManager(a), begun: a.Stopping()}
	s.start, s.cancelStart = context.WithCancelCause(ctx)

	// The pipeline outlives ctx, whose end begins it.
	s.forced, s.force = context.WithCancelCause(context.WithoutCancel(ctx))
	a.current.Store(s)
	return s
}

// startServing lets the servers start, unless the stop has begun. They are ready at
// once, or later by becomeReady.
func (s *stop) startServing(d delay, ready bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return false
	}
	s.serving, s.delay, s.ready = true, d, ready
	return true
}

// becomeReady makes the App ready, unless the stop has begun.
func (s *stop) becomeReady() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return false
	}
	s.ready = true
	return true
}

// announced notes whether others may send requests although the App is not ready.
func (s *stop) announced(yes bool) {
	s.mu.Lock()
	s.known = yes
	s.mu.Unlock()
}

// begin begins the stop and reports whether it did: only the first call does.
// Run returns failure if the cause is one; nil means a clean stop.
func (s *stop) begin(cause, failure error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.beginLocked(cause, failure)
}

func (s *stop) beginLocked(cause, failure error) bool {
	if s.cause != nil {
		return false
	}
	s.cause, s.at = cause, time.Now()
	if failure != nil {
		s.failures = append(s.failures, failure)
	}
	if (s.ready || s.known) && s.delayDue(cause) { // else nobody was sent here yet
		s.delayEnd = make(chan struct{})
	}
	s.cancelStart(cause) // whoever sees that the stop has begun sees this, too
	s.app.endStopping(cause)
	return true
}

// contextEnded begins the stop because Run's ctx has ended.
func (s *stop) contextEnded(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.beginLocked(cause, nil) {
		s.byContext = time.Now()
	}
}

// fail begins the stop with an error. If it has begun already, Run returns that
// error too.
func (s *stop) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.beginLocked(err, err) {
		s.failures = append(s.failures, err)
	}
}

// receive acts on a stop signal. The first one begins the stop. A second one ends
// the delay, and the next one forces the stop; without a delay, or when that is
// over, the second forces. What does not count as one is logged.
func (s *stop) receive(by *SignalError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch first := s.signaled.IsZero(); {
	case first && s.beginLocked(by, nil):
	case first && now.Sub(s.byContext) < sameStop:
		s.cause = by // which ended ctx, too
		if !s.delayDue(by) {
			s.endDelayLocked()
		}
	case first:
		// The stop began by itself. This is the orchestrator's first word.
		s.app.log().Info("already stopping", "signal", by.Reason())
	case s.repeats > 0:
		s.app.log().Info("stop signal repeated, ignored", "signal", by.Reason(), "within", repeatWindow)
		return
	case by.Signal == syscall.SIGTERM && inKubernetes():
		// Never a person's: containerd repeats it after a restart of its own.
		s.app.log().Info("stop signal repeated, ignored in Kubernetes", "signal", by.Reason())
		return
	case s.delayEnd != nil:
		s.app.log().Info("delay ended", "signal", by.Reason())
		s.endDelayLocked()
	case s.forcedBy == nil:
		s.forcedBy = by
		s.force(by)
	}
	s.signaled, s.repeats = now, repeatTicks
}

// mayRepeat reports whether there are ticks left to count.
func (s *stop) mayRepeat() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repeats > 0
}

// tick counts a repeatTick in which this process has run.
func (s *stop) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.signaled) >= repeatWindow {
		s.repeats--
	}
}

// delayDue reports whether a stop for this reason waits before the listeners
// close. Nobody routes requests to a process on somebody's terminal, and a delay
// cannot help what has already died.
func (s *stop) delayDue(cause error) bool {
	// The types are ours: methods of a user's error may panic or block.
	switch cause := cause.(type) {
	case *SignalError:
		if cause.Signal == os.Interrupt && onTerminal() {
			return false
		}
	case *ServerError, *jobsDone:
		return false
	}
	return s.delay.d > 0
}

// delayEnds returns a channel that is closed when a signal ends the delay, or nil
// when no delay is due. A signal ends the delay from the beginning of the stop on,
// also before its step starts.
func (s *stop) delayEnds() <-chan struct{} {
	s.mu.Lock()
	ends := s.delayEnd
	s.mu.Unlock()
	return ends
}

// delayOver makes the next stop signal force the stop.
func (s *stop) delayOver() {
	s.mu.Lock()
	s.delayEnd = nil
	s.mu.Unlock()
}

func (s *stop) endDelayLocked() {
	if s.delayEnd != nil {
		close(s.delayEnd)
		s.delayEnd = nil
	}
}

// reason is what began the stop: nil before.
func (s *stop) reason() error {
	s.mu.Lock()
	cause := s.cause
	s.mu.Unlock()
	return cause
}

// outcome is the errors to return, and what the stop was forced by, if it was.
func (s *stop) outcome() (failures []error, forcedBy error) {
	s.mu.Lock()
	failures, forcedBy = s.failures, s.forcedBy
	s.mu.Unlock()
	return failures, forcedBy
}

// isForced reports whether a signal has cut the stop short.
func (s *stop) isForced() bool {
	_, by := s.outcome()
	return by != nil
}

type stopKey struct{}

// withStop returns the context that the steps of the stop run under.
func withStop(ctx context.Context, s *stop) context.Context {
	return context.WithValue(ctx, stopKey{}, s)
}

// stopCause is why the stop began under whose context a Shutdown is called.
// Where somebody else than an App calls it, that is not known.
func stopCause(ctx context.Context) error {
	if s, ok := ctx.Value(stopKey{}).(*stop); ok {
		return s.reason()
	}
	return context.Canceled
}

// onTerminal reports whether a person is at this process's keyboard.
func onTerminal() bool { return term.IsTerminal(os.Stdin) || term.IsTerminal(os.Stderr) }

// inKubernetes reports whether this process runs in a pod. The variable is set
// also without enableServiceLinks.
func inKubernetes() bool { return os.Getenv("KUBERNETES_SERVICE_HOST") != "" }
