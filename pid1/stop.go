package pid1

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/term"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// A stop is the one stop of an App: how it began and how it is hurried.
//
// There are four events, in this order at most: begin, the end of the delay,
// force, and the end of Run. A second stop signal is the second event while
// the delay lasts, else the third.
type stop struct {
	app   *App
	wait  time.Duration   // App.Delay, resolved
	begun <-chan struct{} // closed by begin; App.Stopping returns it

	// start ends at begin: what has not been served by then never is.
	start       context.Context
	cancelStart context.CancelCauseFunc

	// checking waits for a Before step that still runs when the stop begins.
	checking *shutdown.Hook

	// forced ends when the stop is cut short. The pipeline runs under it.
	forced context.Context
	force  context.CancelCauseFunc

	mu       sync.Mutex    // guards the rest
	serving  bool          // servers run: a delay has something to wait for
	cause    error         // nil until begin
	failed   error         // cause, unless the stop is a clean one
	forcedBy error         // nil until force
	delayEnd chan struct{} // non-nil while there is a delay to end
	hangups  chan struct{} // non-nil while OnHangup runs; closed when it ends
	again    bool          // OnHangup is due once more
}

func newStop(ctx context.Context, a *App) *stop {
	s := &stop{app: a, begun: a.Stopping()}
	s.start, s.cancelStart = context.WithCancelCause(ctx)

	// The pipeline outlives ctx, whose end begins it.
	s.forced, s.force = context.WithCancelCause(context.WithoutCancel(ctx))
	return s
}

// serve makes the App ready, unless the stop has begun.
func (s *stop) serve() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return false
	}
	s.serving = true
	s.app.ready.Store(true)
	return true
}

// begin begins the stop and reports whether it did: only the first call does.
// Run returns failure if the cause is one, nil if this is a clean stop.
func (s *stop) begin(cause, failure error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return false
	}
	s.cause, s.failed = cause, failure
	if s.serving && s.delayDue(cause) {
		s.delayEnd = make(chan struct{})
	}
	s.app.ready.Store(false)
	close(s.app.stopping)
	s.cancelStart(cause)
	return true
}

// hurry is what a further stop signal does: it ends the delay or, when there
// is none to end, cuts the stop short.
//
// The delay counts from begin, not from when its step starts. Otherwise two
// signals that arrive together would force a stop that nobody meant to force.
func (s *stop) hurry(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.delayEnd != nil {
		close(s.delayEnd)
		s.delayEnd = nil
		return
	}
	if s.forcedBy == nil {
		s.forcedBy = cause
		s.force(cause)
	}
}

// delayDue reports whether a stop for this reason waits before the listeners
// close. Nobody routes requests to a process on somebody's terminal, and a
// delay cannot help what has already died.
func (s *stop) delayDue(cause error) bool {
	var sig *SignalError
	if errors.As(cause, &sig) && sig.Signal == os.Interrupt && onTerminal() {
		return false
	}
	var ended *ServerError
	return s.wait > 0 && !errors.As(cause, &ended)
}

// delay returns a channel that hurry closes, or nil when no delay is due.
func (s *stop) delay() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.delayEnd
}

// endDelay makes the next stop signal cut the stop short.
func (s *stop) endDelay() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delayEnd = nil
}

// reason is what began the stop: nil before.
func (s *stop) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// failure is the reason for the stop if that is an error: nil if not.
func (s *stop) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// forcer is what cut the stop short: nil if nothing did.
func (s *stop) forcer() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forcedBy
}

// hangup calls OnHangup, in a goroutine. While a call runs, all that come
// meanwhile are one more after it.
func (s *stop) hangup() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.cause != nil: // too late to matter
	case s.hangups != nil:
		s.again = true
	default:
		s.hangups = make(chan struct{})
		go s.callOnHangup()
	}
}

func (s *stop) callOnHangup() {
	for more := true; more; more = s.hangupEnded() {
		if err := s.app.OnHangup(s.start); err != nil {
			s.app.log().Error("OnHangup failed", "error", err)
		}
	}
}

func (s *stop) hangupEnded() (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	more = s.again && s.cause == nil
	s.again = false
	if !more {
		close(s.hangups)
		s.hangups = nil
	}
	return more
}

// hangupRunning is closed when the call of OnHangup that runs has ended. It is
// nil when none runs.
func (s *stop) hangupRunning() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hangups
}

// withStop returns the context that the steps of the stop run under.
func withStop(ctx context.Context, s *stop) context.Context {
	return context.WithValue(ctx, stopKey{}, s)
}

type stopKey struct{}

// stopCause is why the stop began under whose context a Shutdown is called.
// Somebody other than an App may call it: then there is no more to tell than
// that.
func stopCause(ctx context.Context) error {
	if s, ok := ctx.Value(stopKey{}).(*stop); ok {
		return s.reason()
	}
	return context.Canceled
}

// onTerminal reports whether a person is at this process's keyboard.
func onTerminal() bool { return term.IsTerminal(os.Stdin) || term.IsTerminal(os.Stderr) }
