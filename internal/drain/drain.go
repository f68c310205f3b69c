// SPDX-License-Identifier: MIT

// Package drain stops an *http.Server, or any other server on a listener,
// without losing a request.
//
// Server.Shutdown alone loses some: it drops every request that net/http reads
// after the call, also on connections accepted before. The client sees EOF and
// cannot know whether its POST took effect. docs/design.md, "Drain", has the
// whole story.
package drain

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// drainWindow is how long accepted connections are served on after the
	// listener is closed: long enough for requests that were on their way.
	drainWindow = 100 * time.Millisecond

	// The window ends early after quietTicks in a row without a busy connection.
	// We count ticks, not time: on a starved machine much time passes in which
	// nothing ran.
	tick       = 2 * time.Millisecond
	quietTicks = 15

	// goAwayHold is how long an HTTP/2 connection gets no responses before the
	// one that sends GOAWAY. See announceClose.
	goAwayHold = 20 * time.Millisecond

	// goAwayWait is how long an idle HTTP/2 client has to hang up after GOAWAY. One
	// that has to read its last responses first has until its machine has them
	// all and nothing has come from it for silentLooks of these, a second.
	goAwayWait  = 75 * time.Millisecond
	silentLooks = 14
)

// HTTP is an *http.Server that can be stopped without losing a request. Make
// one with NewHTTP, before the server serves: one for each listener, if the server
// has several. They are one server all the same, and stop as one.
type HTTP struct {
	*server
	listener *listener
	users    net.Listener // as given to Bind
	outer    net.Listener // what Serve gets: ours around users, or inside
	serving  atomic.Bool
}

// A server is what the HTTPs of an *http.Server share.
type server struct {
	srv     *http.Server
	handler http.Handler // the user's
	hooks   Hooks

	mu      sync.Mutex                // guards the rest of this paragraph
	https   []*HTTP                   // that have a listener
	cancels []context.CancelCauseFunc // of the requests' contexts

	expect atomic.Int64 // see Expect

	announcing atomic.Bool   // responses carry Connection: close
	stopping   atomic.Bool   // Serve returns because of us
	shutDown   chan struct{} // closed when the functions of RegisterOnShutdown were called
	draining   atomic.Bool   // one of the HTTPs shuts down for all
	drained    chan struct{} // closed when it has

	inConnState atomic.Int64 // calls of the user's ConnState
	h2c         sync.Once    // warned of

	conns   connections
	changes broadcast // of conns, while stopping
}

// Hooks are called by an HTTP. Each may be nil.
type Hooks struct {
	OnRequest func(*http.Request)  // gets each request after AnnounceClose
	Warn      func(message string) // gets what the user should know
	Go        func(f func())       // calls a function of RegisterOnShutdown, in a goroutine of its own
}

// NewHTTP puts hooks of ours in front of srv's Handler, ConnState, ConnContext and
// BaseContext, which go on working. The contexts of requests are cancelled when
// ctx ends, and descend from ctx unless srv has a BaseContext.
//
// For a server that has these hooks already, ctx and hooks have no effect.
func NewHTTP(ctx context.Context, srv *http.Server, hooks Hooks) *HTTP {
	if ours, ok := srv.Handler.(handler); ok && ours.of.srv == srv {
		return &HTTP{server: ours.of}
	}
	h := &server{srv: srv, hooks: hooks, shutDown: make(chan struct{}), drained: make(chan struct{})}
	h.conns.changed, h.conns.epoch = h.notify, time.Now()
	h.conns.stops = func() bool { return h.announcing.Load() || h.stopping.Load() }
	h.addHooks(ctx)
	return &HTTP{server: h}
}

// Bind gives the server its listener. Shutdown and Kill close it, also if they were
// called before.
func (h *HTTP) Bind(l net.Listener) {
	h.users = l
	h.outer = insert(l, func(inner net.Listener) net.Listener {
		h.listener = newListener(inner)
		return &wrapper{h.conns.wrap, h.listener}
	})
	h.mu.Lock()
	h.https = append(h.https, h)
	h.mu.Unlock()
	if h.stopping.Load() { // and bound may have been called before
		h.listener.Close()
	}
}

// bound are the HTTPs that have a listener.
func (h *server) bound() []*HTTP {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.https)
}

// Serve calls serve, which is the server's Serve or calls its ServeTLS, with the
// listener given to Bind. It returns http.ErrServerClosed after Shutdown or Kill.
func (h *HTTP) Serve(serve func(net.Listener) error) error {
	defer close(h.listener.served)
	h.serving.Store(true)
	err := serve(h.outer)
	if h.stopping.Load() {
		return http.ErrServerClosed // whatever Accept said about the closed listener
	}
	return err
}

// AnnounceClose makes every response from now on tell its client that the
// connection closes. New connections are accepted as before.
func (h *server) AnnounceClose() { h.announcing.Store(true) }

// Shutdown drains a server that serves, in this order:
//
//  1. The listener is closed, after its accept queue was emptied: clients and
//     load balancers are refused and go elsewhere.
//  2. Accepted connections are served on for up to drainWindow, while every
//     response tells the client that the connection closes.
//  3. Idle and never-used connections are ended; see Expect. Then the functions of
//     RegisterOnShutdown are called, one of which sends GOAWAY: a second later at
//     the latest. What is idle by then is ended, and net/http told to shut down.
//  4. Requests in flight end. We count them ourselves: net/http polls, and sees
//     the end up to half a second late.
//
// If two HTTPs of one server are shut down, the first does all this, and the second
// waits for it.
//
// Shortly before ctx's deadline, the contexts of the requests that still run are
// cancelled, with cause. When ctx or these requests have ended, all connections
// are closed, and the error names the requests.
func (h *server) Shutdown(ctx context.Context, cause error) error {
	if h.draining.Swap(true) {
		select {
		case <-h.drained:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("the drain of the same server by another listener has not ended: %w", ctx.Err())
		}
	}
	defer close(h.drained)
	h.stopping.Store(true)
	cutoff, end := Cutoff(ctx)
	defer end()

	h.closeListeners(ctx) // before clients are told to open new connections
	h.AnnounceClose()
	h.serveOn(ctx)
	h.conns.tellH2C()
	h.shutDownWhenIdle(ctx, cutoff)
	for h.wait(cutoff, h.conns.quiet) {
		if h.settle(cutoff) {
			h.close(ctx, cause)
			return nil
		}
		if cutoff.Err() != nil {
			break
		}
	}
	return h.cutOff(ctx, cutoff, cause)
}

// closeListeners closes them after their accept queues were emptied.
func (h *server) closeListeners(ctx context.Context) {
	p := h.newPatience(ctx)
	ctx, end := withAcceptTime(ctx)
	defer end()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		var listeners sync.WaitGroup
		for _, bound := range h.bound() {
			listeners.Go(func() { bound.listener.drain(ctx.Done()) })
		}
		listeners.Wait()
	}()
	if !waitTicks(ctx, drainWindow, closed) {
		h.makeRoom(ctx, p, closed)
	}
	<-closed
}

// Kill ends the server at once. If this listener has not begun to serve, and another
// one may, it closes this listener alone.
func (h *HTTP) Kill() {
	if len(h.bound()) < 2 || h.serving.Load() {
		h.kill()
		return
	}
	h.mu.Lock()
	h.https = slices.DeleteFunc(h.https, func(other *HTTP) bool { return other == h })
	h.mu.Unlock()
	h.listener.Close()
}

// kill closes all listeners and connections. It may be called without, before, or
// while Serve runs.
func (h *server) kill() {
	h.stopping.Store(true)
	for _, bound := range h.bound() {
		bound.listener.Close()
	}
	h.close(context.Background(), context.Canceled)
}

// serveOn waits until the accepted connections are closed or have fallen
// silent: for drainWindow in ticks and, by the clock, for ten times that or a quarter
// of the time that is left, at most.
func (h *server) serveOn(ctx context.Context) {
	end, ticks := time.NewTimer(share(ctx, 10*drainWindow, 4)), time.NewTicker(tick)
	defer end.Stop()
	defer ticks.Stop()
	changed := h.changes.next()
	recent := h.conns.now() - drainWindow
	for total, quiet := 0, 0; !h.conns.none() && total < int(drainWindow/tick); {
		select {
		case <-changed:
			changed = h.changes.next()
			quiet = 0
		case <-ticks.C:
			total++
			quiet++
			if !h.conns.quiet() {
				quiet = 0
			}
			if quiet >= quietTicks && !h.conns.usedAfter(recent) {
				return
			}
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// settle waits until clients have read their last responses. It returns false if
// ctx ends first, or a request comes after all: the last one before GOAWAY.
//
// An HTTP/2 client acknowledges responses. If we closed the connection first,
// that frame would meet a closed socket: the kernel would drop what it has not
// sent yet, and the client what it has not read yet.
func (h *server) settle(ctx context.Context) bool {
	h.conns.each(func(c *connection) { c.looks = 0 })
	for {
		step, end := context.WithTimeout(ctx, goAwayWait)
		none := h.wait(step, h.conns.none)
		end()
		switch {
		case none:
			return true
		case ctx.Err() != nil || !h.conns.quiet():
			return false
		case h.conns.delivered():
			return true
		}
	}
}

// Goroutines are those of the busy connections, by number. Handlers run in them or in
// goroutines that they have started.
func (h *HTTP) Goroutines() []string { return h.conns.goroutines() }

// WaitHandlers waits for the handlers that still run after Shutdown has returned an
// error.
func (h *HTTP) WaitHandlers() { h.wait(context.Background(), h.conns.quiet) }

func (h *server) warn(message string) {
	if h.hooks.Warn != nil {
		h.hooks.Warn(message)
	}
}
