package pid1

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// SignalError is the reason for a stop by signal. It is the cause of the
// contexts that end with it: context.Cause(ctx) in a server, a [App.Before]
// step or a shutdown hook.
type SignalError struct {
	Signal os.Signal
}

func (e *SignalError) Error() string { return "received " + signalName(e.Signal) }

// Is makes errors.Is(err, context.Canceled) hold: a context that a signal
// ended was cancelled, and code that tests its cause for that must see it
// (golang/go#77639).
func (e *SignalError) Is(target error) bool { return target == context.Canceled }

// Reason is the signal's name, such as SIGTERM, for the head of a report.
func (e *SignalError) Reason() string { return signalName(e.Signal) }

// ParseSignal returns the signal that s names: SIGTERM, TERM or 15, in capitals
// or not. Real-time signals have only numbers, 35 to 64 on Linux.
func ParseSignal(s string) (os.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 1 && n <= lastSignal {
		return syscall.Signal(n), nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for n := 1; n <= lastSignal; n++ {
		if sig := syscall.Signal(n); signalName(sig) == name {
			return sig, nil
		}
	}
	return nil, fmt.Errorf("pid1: no signal is called %q: want a name such as SIGTERM, or a number from 1 to %d", s, lastSignal)
}

// stopSignals returns the signals that begin a stop.
func (a *App) stopSignals() []os.Signal {
	if a.Signals == nil {
		return []os.Signal{syscall.SIGTERM, syscall.SIGINT}
	}
	return a.Signals
}

// checkSignals refuses stop signals that would never arrive, or always.
func (a *App) checkSignals() error {
	for i, sig := range a.Signals {
		if reason := unfit[sig]; reason != "" {
			return fmt.Errorf("pid1: App.Signals[%d] is %s, %s: remove it", i, signalName(sig), reason)
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

	// What we were told to ignore a child must be, too: it inherits that, but
	// not if we ask for the signal. So do that only where the program insists.
	sigs := forwarded
	for _, sig := range a.stopSignals() {
		if s, ok := sig.(syscall.Signal); !ok || a.Signals != nil || !leftIgnored(s) {
			sigs = append(sigs, sig)
		}
	}
	if a.OnHangup != nil {
		sigs = append(sigs, syscall.SIGHUP)
	}
	return sigs
}

// dispatch acts on one signal. It must not block: the next one may be the
// second stop signal.
func (a *App) dispatch(s *stop, parts []*part, sig os.Signal) {
	for _, stopSig := range a.stopSignals() {
		if sig != stopSig {
			continue
		}
		if cause := (&SignalError{Signal: sig}); !s.begin(cause, nil) {
			s.hurry(cause)
		}
		return
	}
	if sig == syscall.SIGHUP && a.OnHangup != nil {
		s.hangup()
		return
	}
	if forward(parts, sig) == 0 {
		a.log().Info("signal ignored", "signal", signalName(sig))
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
