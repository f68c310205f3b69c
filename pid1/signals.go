package pid1

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/entrypoint-go/entrypoint/internal/sig"
)

// SignalError is the reason for a stop by signal. It is the cause of the
// contexts that end with it: context.Cause(ctx) in a server, a [App.Before]
// step or a shutdown hook.
type SignalError struct {
	Signal os.Signal
}

func (e *SignalError) Error() string { return "received " + sig.Name(e.Signal) }

// Is makes errors.Is(err, context.Canceled) hold: a context that a signal
// ended was cancelled, and code that tests its cause for that must see it
// (golang/go#77639).
func (e *SignalError) Is(target error) bool { return target == context.Canceled }

// Reason is the signal's name, such as SIGTERM, for the head of a report.
func (e *SignalError) Reason() string { return sig.Name(e.Signal) }

// stopSignals returns the signals that begin a stop.
func (a *App) stopSignals() []os.Signal {
	if a.Signals == nil {
		return []os.Signal{syscall.SIGTERM, syscall.SIGINT}
	}
	return a.Signals
}

// checkSignals refuses stop signals that would never arrive, or always.
func (a *App) checkSignals() error {
	for i, s := range a.Signals {
		if reason := sig.NotStopSignals[s]; reason != "" {
			return fmt.Errorf("pid1: App.Signals[%d] is %s, %s: remove it", i, sig.Name(s), reason)
		}
	}
	return nil
}

// watch dispatches signals until the returned function is called.
// Signals that arrive from its first line on are not lost.
func (a *App) watch(s *stop, parts []*part) (unwatch func()) {
	sigs := a.wanted(parts)

	// Notify drops what the channel has no room for. Signals are rare and the
	// loop below never blocks; the room is for a burst of different ones.
	c := make(chan os.Signal, 64)
	signal.Notify(c, sigs...)

	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case sig := <-c:
				a.dispatch(s, parts, sig)
			case <-quit:
				return
			}
		}
	}()
	return func() {
		signal.Stop(c)
		close(quit)
		<-done
	}
}

// wanted returns the signals to ask for.
func (a *App) wanted(parts []*part) []os.Signal {
	forwarded, forwards := forwardable(parts)
	if !forwards {
		return append(slices.Clone(a.stopSignals()), syscall.SIGHUP)
	}

	// A child inherits that a signal was ignored at the start, but not if this
	// process asks for the signal. So ask only if the user did.
	sigs := forwarded
	for _, s := range a.stopSignals() {
		n, ok := s.(syscall.Signal)
		if !ok || a.Signals != nil || !sig.IgnoredAtStart().Has(n) {
			sigs = append(sigs, s)
		}
	}
	if a.OnHangup != nil {
		sigs = append(sigs, syscall.SIGHUP)
	}
	return sigs
}

// dispatch acts on one signal. It must not block: the next one may be the
// second stop signal.
func (a *App) dispatch(s *stop, parts []*part, received os.Signal) {
	for _, stopSignal := range a.stopSignals() {
		if received != stopSignal {
			continue
		}
		if cause := (&SignalError{Signal: received}); !s.begin(cause, nil) {
			s.hurry(cause)
		}
		return
	}
	if received == syscall.SIGHUP && a.OnHangup != nil {
		s.hangup()
		return
	}
	if forward(parts, received) == 0 {
		a.log().Info("signal ignored", "signal", sig.Name(received))
	}
}

// forwardable is what to ask for on behalf of the parts that pass signals on.
func forwardable(parts []*part) (sigs []os.Signal, any bool) {
	for _, p := range parts {
		if s, ok := p.server.(signaled); ok {
			sigs = append(sigs, s.signals()...)
			any = true
		}
	}
	return sigs, any
}

// forward passes sig on and returns how many parts took it.
func forward(parts []*part, sig os.Signal) (taken int) {
	for _, p := range parts {
		if s, ok := p.server.(signaled); ok {
			s.signal(sig)
			taken++
		}
	}
	return taken
}
