// SPDX-License-Identifier: MIT

package pid1

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/goroutine"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// Server is what [Run] runs. An *http.Server is one, and so is what the functions
// below return.
//
// ListenAndServe serves until Shutdown is called or it fails. If it returns before
// Shutdown was called, the App stops: cleanly with nil or http.ErrServerClosed,
// with a [ServerError] otherwise. Shutdown returns nil when all is served, or an
// error when ctx ends first.
//
// An *http.Server is drained as [App] describes, also inside [Listen] and [TLS].
// Its request is in flight until the handler returns, even if that has hijacked
// the connection, as WebSocket handlers do: end it when [App.Stopping] is closed.
// (HTTP/2 connections of h2c.NewHandler are ended when idle. Server.Protocols does
// without it, and then requests are counted and named.)
// One with several listeners stops as a whole. Functions of its RegisterOnShutdown
// are called once, also if you call its Shutdown or Close.
//
// On a Server of any other type Run only calls Shutdown. A type that embeds an
// *http.Server is such a type: Run logs a warning.
type Server interface {
	ListenAndServe() error
	Shutdown(ctx context.Context) error
}

// ServerError says that a server ended by itself, or failed to start.
type ServerError struct {
	Server string // its name, see [Named]
	Err    error  // nil: it returned without an error

	program bool // the server is a Command: Err has the exit status of its program
}

func (e *ServerError) Error() string {
	if e.Err == nil {
		return e.Server + " returned"
	}
	return e.Server + ": " + e.Err.Error()
}

func (e *ServerError) Unwrap() error { return e.Err }

// Named gives s a name for logs, errors and the report. Without one an
// *http.Server is called "http :8080", or by the address that it got for ":0", a
// Func "worker", a Job "job", and anything else by its type. The second server of
// the same name gets a number.
func Named(name string, s Server) Server { return &named{s, name} }

type named struct {
	Server
	name string
}

// What App asks of the servers of this package beyond Server. Each is optional.
type (
	// setContext gives the context that all of the server's descend from.
	contextSetter interface{ setContext(ctx context.Context) }

	// check refuses bad settings, before anything listens.
	checker interface{ check() error }

	// bind takes the port, before anything serves.
	binder interface {
		bind(ctx context.Context) error
	}

	// startDraining is called when the delay begins, to tell clients to go.
	drainer interface{ startDraining() }

	// observe takes a function that is called for each request after that, and
	// one that logs what the user should know.
	observer interface {
		observe(onRequest func(*http.Request), warn func(message string))
	}

	// kill ends the server at once.
	killer interface{ kill() }

	namer interface{ name() string }

	// inside is the server that the user gave to Listen.
	wrapper interface{ inside() any }

	// A program is a Child. Its type is named only where one is made, so that other
	// programs do without it.
	program interface {
		problem() string // why it cannot run, or ""
		logTo(log *slog.Logger)
		started() <-chan struct{} // closed when it is known whether it runs
		runs() bool               // or has run; valid when started is closed

		// signals returns those that the program wants. signal passes one on; App
		// keeps those that it uses itself.
		signals() []os.Signal
		signal(sig os.Signal)
	}
)

// takesRequests reports whether other programs send requests to the server, so
// that they have to learn of a stop before its listener closes.
func (p *serverState) takesRequests() bool {
	switch p.server.(type) {
	case *worker, program:
		return false
	}
	return true
}

// prepare gives the server its context.
func (p *serverState) prepare(ctx context.Context, onRequest func(*http.Request), warn func(message string)) {
	if c, ok := p.server.(contextSetter); ok {
		c.setContext(ctx)
	}
	if o, ok := p.server.(observer); ok {
		o.observe(onRequest, warn)
	}
}

// check checks the server's settings. It may read files, which may hang.
func (p *serverState) check() error {
	if c, ok := p.server.(checker); ok {
		if err := c.check(); err != nil {
			return p.error(err)
		}
	}
	return nil
}

// bind takes the port, if the server can do so before it serves.
func (p *serverState) bind(ctx context.Context) error {
	b, ok := p.server.(binder)
	if !ok {
		return nil
	}
	before := p.ownName()
	if err := b.bind(ctx); err != nil {
		return p.error(err)
	}
	if after := p.ownName(); after != before && strings.HasPrefix(p.name, before) {
		p.name = after // with the port that :0 has become
	}
	return nil
}

func (p *serverState) startDraining() {
	if d, ok := p.server.(drainer); ok {
		d.startDraining()
	}
}

// serve runs the server. Its end begins a stop, unless one has begun.
func (p *serverState) serve(s *stop) {
	if c, ok := p.server.(program); ok {
		c.logTo(s.app.log())
	}
	p.call = goCall(p.name, func() error {
		err := p.server.ListenAndServe()
		if errors.Is(err, http.ErrServerClosed) {
			return nil // somebody shut it down, as it should end
		}
		return err
	}, func(err error) { p.ended(s, err) })
}

// awaitStart waits until the server has started, as far as that can be known, or the
// stop begins.
func (p *serverState) awaitStart(begun <-chan struct{}) {
	number := <-p.call.number // its goroutine runs
	p.call.number <- number
	if c, ok := p.server.(program); ok {
		select {
		case <-c.started():
			if !c.runs() { // it could not be started, which begins the stop
				<-begun
			}
		case <-begun:
		}
	}
}

func (p *serverState) ended(s *stop, err error) {
	switch ended := p.error(err); {
	case isPanic(err):
		p.blamed = true
		s.fail(ended)
		s.app.logPanic(err)
	case err != nil:
		p.blamed = s.begin(ended, ended)
	case p.job != nil:
		p.job.ended(s, p)
	default:
		p.blamed = s.begin(ended, nil)
	}
}

func (p *serverState) error(err error) *ServerError {
	_, isProgram := p.server.(program)
	return &ServerError{Server: p.name, Err: err, program: isProgram}
}

// hook is the server's part in the stop.
func (p *serverState) hook() shutdown.Hook { return shutdown.Hook{Name: p.name, Func: p.stop} }

// stop shuts the server down and waits until it has returned, or ctx ends.
func (p *serverState) stop(ctx context.Context) error {
	if c, ok := p.server.(chain); ok {
		return c.stopAll(ctx, c.stops(p.members))
	}
	if p.call == nil { // of a chain, and the stop came first
		if k, ok := p.server.(killer); ok {
			k.kill()
		}
		return nil
	}
	if w, ok := p.server.(*worker); ok {
		w.cancel(stopCause(ctx))
		err := p.call.wait(ctx) // so that one that hangs is Stuck
		return p.stopped(err, context.Cause(w.ctx))
	}
	h, drained := p.server.(*httpServer)
	if !drained {
		p.call.blame(ctx, "", goroutine.Current()) // Shutdown may hang, or the server
	}
	err := p.server.Shutdown(ctx)
	switch {
	case err == nil && drained && !p.call.endsWithin(shortWait):
		return nil // its Accept hangs in a connection that carried no request yet
	case err == nil:
		return p.stopped(p.call.wait(ctx), stopCause(ctx)) // one that hangs is Stuck
	case drained:
		if p.call.ended() { // its listener failed before that, while others stopped
			err = join(err, p.stopped(p.call.err, stopCause(ctx)))
		}
		h.waitHandlers(ctx, err) // one that hangs is Stuck
		return err
	}
	if err != ctx.Err() { // which says nothing new
		p.call.blame(ctx, err.Error(), goroutine.Current())
	}
	<-p.call.done // one that hangs is Stuck
	return join(err, p.stopped(p.call.err, stopCause(ctx)))
}

// stopped is what is wrong with the error of ListenAndServe after a stop. It may
// return the cause that it was given.
func (p *serverState) stopped(err, cause error) error {
	if err == nil || p.blamed || errors.Is(err, context.Canceled) || errors.Is(err, cause) {
		return nil
	}
	return p.error(err)
}

// killWait bounds the time for servers to end at once. A Child that is being started
// has longer.
const killWait = 100 * time.Millisecond

// killAll ends the servers at once, as well as they can be. A Close that hangs
// holds up nobody.
func killAll(servers []*serverState, deadline time.Time) {
	var calls []*call
	wait := killWait
	for _, p := range servers {
		if _, ok := p.server.(program); ok {
			wait = startWait
		}
		calls = append(calls, goCall(p.name, p.kill, nil))
	}
	timeout := time.NewTimer(min(wait, time.Until(deadline)))
	defer timeout.Stop()
	for _, c := range calls {
		select {
		case <-c.done: // nothing is left to do about an error
		case <-timeout.C:
			return
		}
	}
}

// release gives up what bind took, or Listen was given. Other servers have not been
// started, and nothing is to be closed.
func release(servers []*serverState, deadline time.Time) {
	var bound []*serverState
	for _, p := range servers {
		if _, ok := p.server.(killer); ok {
			bound = append(bound, p)
		}
	}
	killAll(bound, deadline)
}

func (p *serverState) kill() error {
	switch s := p.server.(type) {
	case killer:
		s.kill()
	case interface{ Close() error }:
		return s.Close()
	}
	return nil
}

// ownName is the name without Named, of a server that has one.
func (p *serverState) ownName() string {
	if n, ok := p.server.(namer); ok {
		return n.name()
	}
	return ""
}

// title is the name, with the address that the server listens on.
func (p *serverState) title() string {
	b, ok := p.server.(interface{ boundTo() net.Addr })
	if !ok || b.boundTo() == nil || hasAddr(p.name, b.boundTo()) {
		return p.name
	}
	return p.name + " on " + b.boundTo().String()
}
