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
	"strings"
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
	// all and nothing has come from it for silentWait.
	goAwayWait = 75 * time.Millisecond
	silentWait = time.Second
)

// HTTP is an *http.Server that can be stopped without losing a request. Make
// one with NewHTTP, before the server serves: one for each listener, if the server
// has several. They are one server all the same, and stop as one.
type HTTP struct {
	*server
	listener *listener
	users    net.Listener // as given to Bind
	outer    net.Listener // what Serve gets: ours around users, or inside
}

// A server is what the HTTPs of an *http.Server share.
type server struct {
	srv       *http.Server
	handler   http.Handler // the user's
	onRequest func(*http.Request)
	cancel    context.CancelCauseFunc // of the requests' contexts

	mu    sync.Mutex
	https []*HTTP // that have a listener

	expect atomic.Int64 // see Expect

	announcing atomic.Bool   // responses carry Connection: close
	stopping   atomic.Bool   // Serve returns because of us
	shutDown   chan struct{} // closed when the functions of RegisterOnShutdown were called
	draining   atomic.Bool   // one of the HTTPs shuts down for all
	drained    chan struct{} // closed when it has

	inConnState atomic.Int64 // calls of the user's ConnState

	// These may be set before Bind. Warn gets what the user should know; Go calls
	// a function of RegisterOnShutdown, in a goroutine of its own.
	Warn func(message string)
	Go   func(f func())
	h2c  sync.Once // warned of

	conns   connections
	changed chan struct{} // has a value after conns changed, while stopping
}

// NewHTTP puts hooks in front of srv's Handler, ConnState, ConnContext and
// BaseContext, which go on working. The contexts of requests are cancelled when
// ctx ends, and descend from ctx unless srv has a BaseContext. onRequest, which
// may be nil, is called for each request after AnnounceClose.
//
// For a server that has these hooks already, ctx and onRequest have no effect.
func NewHTTP(ctx context.Context, srv *http.Server, onRequest func(*http.Request)) *HTTP {
	if ours, ok := srv.Handler.(handler); ok {
		return &HTTP{server: ours.of}
	}
	h := &server{srv: srv, onRequest: onRequest, changed: make(chan struct{}, 1), shutDown: make(chan struct{}), drained: make(chan struct{})}
	h.conns.changed, h.conns.stops, h.conns.epoch = h.notify, h.stopping.Load, time.Now()
	h.addHooks(ctx)
	return &HTTP{server: h}
}

// Bind gives the server its listener. Shutdown and Kill close it.
func (h *HTTP) Bind(l net.Listener) {
	h.users = l
	h.outer = insert(l, func(inner net.Listener) net.Listener {
		h.listener = newListener(inner)
		return &wrapper{h.conns.wrap, h.listener}
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.https = append(h.https, h)
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
//  3. Idle and never-used connections are ended; see Expect. Then net/http is told
//     to shut down: it sends GOAWAY and calls the functions of RegisterOnShutdown.
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
			return fmt.Errorf("the drain of the same server by another listener has not ended: %w", CutReason(ctx))
		}
	}
	defer close(h.drained)
	h.stopping.Store(true)
	cutoff := Cutoff(ctx)
	defer cutoff.Stop()

	accepting, end := context.WithTimeout(ctx, acceptLimit(ctx))
	var listeners sync.WaitGroup
	for _, bound := range h.bound() {
		listeners.Go(func() { bound.listener.drain(accepting.Done()) })
	}
	listeners.Wait() // before clients are told to open new connections
	end()
	h.AnnounceClose()
	h.serveOn(ctx)
	h.conns.tellH2C()
	h.endIdle(ctx)
	h.shutDownServer()
	for h.wait(ctx, cutoff.C, h.conns.quiet) {
		settled, ok := h.settle(ctx, cutoff.C)
		if settled {
			h.close(cause)
			return nil
		}
		if !ok {
			break
		}
	}
	return h.cutOff(ctx, cause)
}

// Kill closes the listener and all connections at once. It may be called
// without, before, or while Serve runs.
func (h *server) Kill() {
	h.stopping.Store(true)
	for _, bound := range h.bound() {
		bound.listener.Close()
	}
	h.close(context.Canceled)
}

// close cancels the contexts of all requests and closes their connections.
func (h *server) close(cause error) {
	h.cancel(cause)
	h.conns.close()
	within(drainWindow, func() { _ = h.srv.Close() })
}

// serveOn waits until the accepted connections are closed or have fallen
// silent, at most for drainWindow or a quarter of the time that is left.
func (h *server) serveOn(ctx context.Context) {
	limit := 10 * drainWindow // by the clock
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/4)
	}
	end, ticks := time.NewTimer(limit), time.NewTicker(tick)
	defer end.Stop()
	defer ticks.Stop()
	recent := h.conns.now() - drainWindow
	for total, quiet := 0, 0; !h.conns.none() && total < int(drainWindow/tick); {
		select {
		case <-h.changed:
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

// settle waits until clients have read their last responses. It returns false
// twice if the stop has to be cut off first, and false and true if a request came
// after all: the last one before GOAWAY.
//
// An HTTP/2 client acknowledges responses. If we closed the connection first,
// that frame would meet a closed socket: the kernel would drop what it has not
// sent yet, and the client what it has not read yet.
func (h *server) settle(ctx context.Context, cutoff <-chan time.Time) (settled, ok bool) {
	for began := h.conns.now(); ; {
		step := time.After(goAwayWait)
		for waiting := true; waiting && !h.conns.none(); {
			select {
			case <-h.changed:
			case <-step:
				waiting = false
			case <-cutoff:
				return false, false
			case <-ctx.Done():
				return false, false
			}
		}
		switch {
		case h.conns.none():
			return true, true
		case !h.conns.quiet():
			return false, true
		case h.conns.delivered(began):
			return true, true
		}
	}
}

// cutOff ends requests that did not end in time, and names them.
func (h *server) cutOff(ctx context.Context, cause error) error {
	running := h.conns.list(h.handler)
	h.cancel(cause)

	// A handler that returns when its context ends can still respond.
	last := time.NewTimer(answerTime(ctx))
	defer last.Stop()
	if h.wait(ctx, last.C, h.conns.quiet) {
		h.wait(ctx, last.C, h.conns.none)
	}
	h.close(cause)
	if n := h.inConnState.Load(); n > 0 {
		running = append(running, fmt.Sprintf("%d in a Server.ConnState that does not return", n))
	}
	if len(running) == 0 {
		return fmt.Errorf("connections cut off before they were idle: %w", CutReason(ctx))
	}
	return fmt.Errorf("requests cut off: %s: %w", strings.Join(running, ", "), CutReason(ctx))
}

// Goroutines are those of the busy connections, by number. Handlers run in them or in
// goroutines that they have started.
func (h *HTTP) Goroutines() []string { return h.conns.goroutines() }

// WaitHandlers waits for the handlers that still run after Shutdown has returned an
// error.
func (h *HTTP) WaitHandlers() { h.wait(context.Background(), nil, h.conns.quiet) }

func (h *server) warn(message string) {
	if h.Warn != nil {
		h.Warn(message)
	}
}

// notify wakes wait. conns change before stopping is read here, and wait reads
// them after stopping was set: it misses no change.
func (h *server) notify() {
	if !h.stopping.Load() {
		return
	}
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// wait returns true once done does, false when ctx or until ends first.
func (h *server) wait(ctx context.Context, until <-chan time.Time, done func() bool) bool {
	for !done() {
		select {
		case <-h.changed:
		case <-ctx.Done():
			return false
		case <-until:
			return done()
		}
	}
	return true
}
