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
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
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
// one with NewHTTP, before the server serves.
type HTTP struct {
	srv       *http.Server
	handler   http.Handler // the user's
	onRequest func(*http.Request)
	listener  *listener
	bound     net.Listener            // the user's
	outer     net.Listener            // what Serve gets: ours around bound, or inside
	expect    time.Duration           // see Expect
	cancel    context.CancelCauseFunc // of the requests' contexts

	announcing atomic.Bool // responses carry Connection: close
	stopping   atomic.Bool // Serve returns because of us
	shutDown   atomic.Bool // Serve returned because the user called Shutdown or Close

	conns   connections
	changed chan struct{} // has a value after conns changed, while stopping
}

// NewHTTP puts hooks in front of srv's Handler, ConnState, ConnContext and
// BaseContext, which go on working. The contexts of requests are cancelled when
// ctx ends, and descend from ctx unless srv has a BaseContext. onRequest, which
// may be nil, is called for each request after AnnounceClose.
func NewHTTP(ctx context.Context, srv *http.Server, onRequest func(*http.Request)) *HTTP {
	h := &HTTP{srv: srv, onRequest: onRequest, changed: make(chan struct{}, 1)}
	h.conns.changed, h.conns.stops, h.conns.epoch = h.notify, h.stopping.Load, time.Now()
	h.addHooks(ctx)
	return h
}

// Bind gives the server its listener. Shutdown and Kill close it.
func (h *HTTP) Bind(l net.Listener) {
	h.bound = l
	h.outer = insert(l, func(inner net.Listener) net.Listener {
		h.listener = newListener(inner)
		return &wrapper{h.conns.wrap, h.listener}
	})
}

// Serve calls serve, which is the server's Serve or calls its ServeTLS, with the
// listener given to Bind. It returns http.ErrServerClosed after Shutdown or Kill.
func (h *HTTP) Serve(serve func(net.Listener) error) error {
	defer close(h.listener.served)
	err := serve(h.outer)
	if h.stopping.Load() {
		return http.ErrServerClosed // whatever Accept said about the closed listener
	}
	h.shutDown.Store(errors.Is(err, http.ErrServerClosed))
	return err
}

// AnnounceClose makes every response from now on tell its client that the
// connection closes. New connections are accepted as before.
func (h *HTTP) AnnounceClose() { h.announcing.Store(true) }

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
// Shortly before ctx's deadline, the contexts of the requests that still run are
// cancelled, with cause. When ctx or these requests have ended, all connections
// are closed, and the error names the requests.
func (h *HTTP) Shutdown(ctx context.Context, cause error) error {
	h.stopping.Store(true)
	cutoff := Cutoff(ctx)
	defer cutoff.Stop()

	accepting, end := context.WithTimeout(ctx, acceptLimit(ctx))
	h.listener.drain(accepting.Done()) // before clients are told to open new ones
	end()
	h.AnnounceClose()
	h.serveOn(ctx)
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
func (h *HTTP) Kill() {
	h.stopping.Store(true)
	h.listener.Close()
	h.close(context.Canceled)
}

// close cancels the contexts of all requests and closes their connections.
func (h *HTTP) close(cause error) {
	h.cancel(cause)
	h.conns.close()
	within(drainWindow, func() { _ = h.srv.Close() })
}

// serveOn waits until the accepted connections are closed or have fallen
// silent, at most for drainWindow or a quarter of the time that is left.
func (h *HTTP) serveOn(ctx context.Context) {
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

// shutDownServer has net/http shut down, but not wait: no HTTP/1 connection is
// left that has no handler running, so net/http has none to close, and drops no
// request that it reads.
//
// SetKeepAlivesEnabled(false) would make the responses in flight close their
// connections a moment earlier. But it closes what net/http calls idle, also
// when a request was just read, whose handler then runs for nothing.
func (h *HTTP) shutDownServer() {
	if h.shutDown.Load() {
		return // a second Shutdown would call RegisterOnShutdown's functions again
	}
	// With a context that has ended, Shutdown does everything but wait.
	ended, end := context.WithCancel(context.Background())
	end()
	within(drainWindow, func() { _ = h.srv.Shutdown(ended) }) // it waits for Serve to return
}

// settle waits until clients have read their last responses. It returns false
// twice if the stop has to be cut off first, and false and true if a request came
// after all: the last one before GOAWAY.
//
// An HTTP/2 client acknowledges responses. If we closed the connection first,
// that frame would meet a closed socket: the kernel would drop what it has not
// sent yet, and the client what it has not read yet.
func (h *HTTP) settle(ctx context.Context, cutoff <-chan time.Time) (settled, ok bool) {
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
func (h *HTTP) cutOff(ctx context.Context, cause error) error {
	running := h.conns.list(h.handler)
	h.cancel(cause)

	// A handler that returns when its context ends can still respond.
	last := time.NewTimer(answerTime(ctx))
	defer last.Stop()
	if h.wait(ctx, last.C, h.conns.quiet) {
		h.wait(ctx, last.C, h.conns.none)
	}
	h.close(cause)
	if len(running) == 0 {
		return fmt.Errorf("connections cut off before they were idle: %w", CutReason(ctx))
	}
	return fmt.Errorf("requests cut off: %s: %w", strings.Join(running, ", "), CutReason(ctx))
}

// notify wakes wait. conns change before stopping is read here, and wait reads
// them after stopping was set: it misses no change.
func (h *HTTP) notify() {
	if !h.stopping.Load() {
		return
	}
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// wait returns true once done does, false when ctx or until ends first.
func (h *HTTP) wait(ctx context.Context, until <-chan time.Time, done func() bool) bool {
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
