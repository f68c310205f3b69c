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

	// goAwayWait is how long an idle HTTP/2 client has to hang up after GOAWAY;
	// one that has to read its last responses first has up to goAwayMaxWait,
	// which is also what net/http allows (goAwayTimeout).
	goAwayWait    = 75 * time.Millisecond
	goAwayMaxWait = time.Second
)

// HTTP is an *http.Server that can be stopped without losing a request. Make
// one with NewHTTP, before the server serves: one for each listener, if the server
// has several. They are one server all the same, and stop as one.
type HTTP struct {
	*server
	listener *listener
}

// A server is what the HTTPs of an *http.Server share.
type server struct {
	srv       *http.Server
	handler   http.Handler // the user's
	onRequest func(*http.Request)
	cancel    context.CancelCauseFunc // of the requests' contexts

	mu        sync.Mutex
	listeners []*listener

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
	h.conns.changed, h.conns.epoch = h.notify, time.Now()
	h.addHooks(ctx)
	return &HTTP{server: h}
}

// Bind gives the server its listener. Shutdown and Kill close it.
func (h *HTTP) Bind(l net.Listener) {
	h.listener = newListener(l)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listeners = append(h.listeners, h.listener)
}

// bound are the listeners of all HTTPs.
func (h *server) bound() []*listener {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.listeners)
}

// Serve calls serve, which is the server's Serve or calls its ServeTLS, with the
// listener given to Bind. It returns http.ErrServerClosed after Shutdown or Kill.
func (h *HTTP) Serve(serve func(net.Listener) error) error {
	defer close(h.listener.served)
	err := serve(h.listener)
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
//  3. Idle and never-used connections are closed. Then net/http is told to shut
//     down: it sends GOAWAY and calls the functions of RegisterOnShutdown.
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

	h.AnnounceClose()
	accepting, end := context.WithTimeout(ctx, acceptLimit(ctx))
	var listeners sync.WaitGroup
	for _, l := range h.bound() {
		listeners.Go(func() { l.drain(accepting.Done()) })
	}
	listeners.Wait()
	end()
	h.serveOn(ctx)
	h.closeIdle(ctx)
	for h.wait(ctx, cutoff.C, h.conns.quiet) {
		if h.settle(ctx) {
			h.close(cause)
			return nil
		}
	}
	return h.cutOff(ctx, cause)
}

// Kill closes the listener and all connections at once. It may be called
// without, before, or while Serve runs.
func (h *server) Kill() {
	h.stopping.Store(true)
	for _, l := range h.bound() {
		l.Close()
	}
	h.close(context.Canceled)
}

// close cancels the contexts of all requests and closes their connections.
func (h *server) close(cause error) {
	h.cancel(cause)
	h.conns.closeH2C()
	h.briefly(func() { _ = h.srv.Close() })
}

// briefly calls f, which is Shutdown or Close. Both wait for Serve to return, and if
// that hangs in Accept, f is left behind.
func (h *server) briefly(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	timeout := time.After(drainWindow)
	for _, l := range h.bound() {
		select {
		case <-done:
			return
		case <-l.served:
		case <-timeout:
			return
		}
	}
	<-done
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

// closeIdle closes idle connections and makes every response from now on the
// last one of its connection.
//
// SetKeepAlivesEnabled drops requests that wait in a socket for a goroutine to
// read them, and Shutdown also those that were just read. So we wait until there
// are none before each.
func (h *server) closeIdle(ctx context.Context) {
	h.conns.tellH2C()
	h.wait(ctx, time.After(drainWindow), h.conns.closeIdle)
	h.srv.SetKeepAlivesEnabled(false)
	h.wait(ctx, time.After(tick), h.conns.handled)

	h.callOnShutdown()
	// With a context that has ended, Shutdown does everything but wait.
	ended, end := context.WithCancel(context.Background())
	end()
	h.briefly(func() { _ = h.srv.Shutdown(ended) })
}

// settle lets HTTP/2 clients hang up after the last response. It returns false
// if a request came after all: the last one before GOAWAY.
//
// An HTTP/2 client acknowledges responses. If we closed the connection first,
// that frame would meet a closed socket: the kernel would drop what it has not
// sent yet, and the client what it has not read yet.
func (h *server) settle(ctx context.Context) bool {
	for waited := time.Duration(0); ; waited += goAwayWait {
		switch {
		case h.wait(ctx, time.After(goAwayWait), h.conns.none):
			return true
		case !h.conns.quiet():
			return false
		case h.conns.allSent() || waited > goAwayMaxWait || ctx.Err() != nil:
			return true
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
