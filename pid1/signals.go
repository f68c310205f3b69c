// SPDX-License-Identifier: MIT

package pid1

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/sig"
)

// SignalError is the reason for a stop by signal. It is the cause of the contexts
// that end with it: context.Cause(ctx) in a server, an [App.Before] step or a
// shutdown hook.
type SignalError struct {
	Signal os.Signal
}

func (e *SignalError) Error() string { return "received " + sig.Name(e.Signal) }

// Is reports true for context.Canceled, so that code which checks
// context.Cause(ctx) for it keeps working (golang/go#77639).
func (e *SignalError) Is(target error) bool { return target == context.Canceled }

// asSignal is an As method for an error that holds a SignalError and must not be a
// context.Canceled itself.
func asSignal(cause error, target any) bool {
	by, ok := cause.(*SignalError)
	if to, wanted := target.(**SignalError); ok && wanted {
		*to = by
		return true
	}
	return false
}

// Reason is the signal's name, such as SIGTERM, for the headline of a report.
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
		if reason := sig.WhyNoStop(s); reason != "" {
			return fmt.Errorf("pid1: App.Signals[%d] is %s, %s: remove it", i, sig.Name(s), reason)
		}
	}
	return nil
}

// watch dispatches signals until the returned function is called. Signals that
// arrive from its first line on are not lost.
func (a *App) watch(s *stop) (unwatch func()) {
	// Notify drops what the channel has no room for. Signals are rare and
	// dispatch does not block; the room is for a burst of different ones.
	c := make(chan os.Signal, 64)
	if wanted := a.wanted(s.servers.all()); len(wanted) > 0 { // none would mean all of them
		a.catch(c, wanted...)
	}

	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticks := time.NewTicker(repeatTick)
		defer ticks.Stop()
		for {
			due := ticks.C
			if !s.mayRepeat() {
				ticks.Stop() // an idle process is not woken
				due = nil
			}
			select {
			case received := <-c:
				a.dispatch(s, received)
				if due == nil {
					ticks.Reset(repeatTick)
				}
			case <-due:
				s.tick()
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// catch has signals sent to c until stopCatching.
func (a *App) catch(c chan os.Signal, signals ...os.Signal) {
	signal.Notify(c, signals...)
	a.caught = append(a.caught, c)
}

// stopCatching gives signals their default action a moment after the end of Run. The
// stop signal may come once more, and main may still write to a log without a
// reader: the default action of either would replace the exit code. A signal that
// came in time may be seen late, so the moment is counted in ticks.
func (a *App) stopCatching() {
	caught, left := a.caught, int(repeatWindow/repeatTick)
	var tick func()
	tick = func() {
		if left--; left > 0 {
			time.AfterFunc(repeatTick, tick)
			return
		}
		for _, c := range caught {
			signal.Stop(c)
		}
	}
	time.AfterFunc(repeatTick, tick)
}

// catchPipe keeps a write to a log whose reader is gone from ending the process,
// which SIGPIPE does unless somebody asks for it (os/signal). Nobody reads the
// channel: each write to a broken connection raises one.
func (a *App) catchPipe() {
	if sig.Pipe != nil {
		a.catch(make(chan os.Signal, 1), sig.Pipe)
	}
}

// wanted returns the signals to ask for.
func (a *App) wanted(servers []*serverState) []os.Signal {
	forwarded, forwards := forwardable(servers)
	if !forwards {
		return append(slices.Clone(a.stopSignals()), syscall.SIGHUP)
	}

	// A child inherits that a signal was ignored at the start, but not if this
	// process asks for the signal. So ask only if the user did.
	sigs := forwarded
	for _, s := range a.stopSignals() {
		if n, ok := s.(syscall.Signal); !ok || a.Signals != nil || !sig.IgnoredAtStart().Has(n) {
			sigs = append(sigs, s)
		}
	}
	if a.OnHangup != nil {
		sigs = append(sigs, syscall.SIGHUP)
	}
	return sigs
}

// dispatch acts on one signal. It must not block: the next one may be the second
// stop signal.
func (a *App) dispatch(s *stop, received os.Signal) {
	switch {
	case slices.Contains(a.stopSignals(), received) && s.counts():
		s.receive(&SignalError{Signal: received})
	case received == syscall.SIGHUP && a.OnHangup != nil:
		s.hangUp()
	case forward(s.servers.all(), received) == 0:
		a.log().Info("signal ignored", "signal", sig.Name(received))
	}
}

// counts reports whether this process acts on stop signals. Under RunIsolated it does
// so on the first, and on those after the end of the child.
func (s *stop) counts() bool {
	return s.childEnded == nil || s.reason() == nil || s.childEnded()
}

// forwardable returns the signals to ask for on behalf of the servers that pass
// signals on.
func forwardable(servers []*serverState) (sigs []os.Signal, any bool) {
	for _, p := range servers {
		if c, ok := p.server.(program); ok {
			sigs = append(sigs, c.signals()...)
			any = true
		}
	}
	return sigs, any
}

// forward passes the signal on and returns how many servers took it.
func forward(servers []*serverState, received os.Signal) (taken int) {
	for _, p := range servers {
		if c, ok := p.server.(program); ok {
			c.signal(received)
			taken++
		}
	}
	return taken
}

// hangUp calls OnHangup, in a goroutine. All signals that arrive while a call runs
// cause one more after it.
func (s *stop) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.cause != nil: // too late to matter
	case s.hangup != nil:
		s.again = true
	default:
		s.hangup = goCall("OnHangup", s.reload, s.hungUp)
	}
}

// reload calls OnHangup, between the two messages that systemd expects of a
// service that is ready.
func (s *stop) reload() error {
	if s.app.Ready() {
		s.manager.reloading()
		defer func() {
			if s.app.Ready() {
				s.manager.tell("READY=1")
			}
		}()
	}
	return s.app.OnHangup(s.start)
}

// hungUp is called with what OnHangup returned.
func (s *stop) hungUp(err error) {
	switch {
	case isPanic(err):
		s.fail(err)
		s.app.logPanic(err)
	case err != nil:
		s.app.log().Error("OnHangup failed", "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangup = nil
	if s.again && s.cause == nil {
		s.hangup = goCall("OnHangup", s.reload, s.hungUp)
	}
	s.again = false
}

// hangupRunning returns the call of OnHangup that runs, or nil.
func (s *stop) hangupRunning() *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hangup
}

// signal passes s on. The first error, of a child that has changed its user for
// instance, is logged.
func (c *Child) signal(s os.Signal) {
	if s == sigCont {
		c.giveTerminal()
	}
	_ = c.send(c.rewritten(s))
}

// rewritten returns s as the child gets it, nil if the child does not get it.
func (c *Child) rewritten(s os.Signal) os.Signal {
	if to, ok := c.Rewrite[s]; ok {
		return to
	}
	return s
}

// send sends s to the child, at once or when it has started. It does nothing if
// the child has ended, or s is nil.
func (c *Child) send(s os.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s == nil:
	case c.state == childRunning:
		return c.sendLocked(s)
	case c.state < childRunning:
		c.pending = append(c.pending, s)
	}
	return nil
}

// sendLocked sends s to the child, or to its group. A child that has ended is no
// error.
func (c *Child) sendLocked(s os.Signal) error {
	err := c.sendSignal(s)
	if err == nil || errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	err = fmt.Errorf("send %s to the child: %w", sig.Name(s), err)
	if !c.complained {
		c.complained = true
		c.complainLocked("the child may not be signalled by this process", err)
	}
	return err
}
