package pid1

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// linger is how long accepted connections are served on after the listener is
// closed. A request that is on its way when the stop begins arrives within it:
// it spans a round trip of most clients, and 20 ms were enough to lose none of
// the requests of 20 busy local ones, while Server.Shutdown alone lost 14 a stop.
const linger = 100 * time.Millisecond

// linger ends early after so many ticks in which no connection was busy, if none
// was shortly before. Ticks are counted, here and for linger itself, because a
// starved machine's clock tells of a long silence when only nothing ran.
const (
	silence = 15
	tick    = 2 * time.Millisecond
)

// hold is how long an HTTP/2 connection that is about to be sent GOAWAY gets no
// answers. See sendAway.
const hold = 20 * time.Millisecond

// goAway is how long an idle HTTP/2 client has to hang up after GOAWAY. One that
// has to read its last responses first has goAwayMost. net/http itself gives
// each 1 s (goAwayTimeout).
const (
	goAway     = 75 * time.Millisecond
	goAwayMost = time.Second
)

// An httpServer runs an *http.Server so that its stop loses no request.
//
// Server.Shutdown is not called first, since it drops every request that is
// read after it was called, also from connections accepted before: the client
// gets EOF and cannot know whether a POST took effect (conn.serve in
// net/http/server.go). See Shutdown for what happens instead.
type httpServer struct {
	srv       *http.Server
	inherited net.Listener // from Listen; nil: bind makes one of srv.Addr
	parent    context.Context

	listener *drainListener
	handler  http.Handler // the user's
	cut      context.CancelCauseFunc
	arrived  func(*http.Request)

	retired atomic.Bool   // answers carry Connection: close
	stopped atomic.Bool   // Serve's end is our doing
	shut    atomic.Bool   // Serve's end is the user's doing
	served  chan struct{} // closed when Serve has returned

	conns   connections
	changed chan struct{} // conns did, while stopped is set
}

func (h *httpServer) name() string {
	switch {
	case h.inherited != nil && h.inherited.Addr().Network() == "unix":
		return "http unix:" + h.inherited.Addr().String()
	case h.inherited != nil:
		return "http " + h.inherited.Addr().String()
	case h.secure():
		return "https " + cmp.Or(h.srv.Addr, ":https")
	}
	return "http " + cmp.Or(h.srv.Addr, ":http")
}

// secure reports whether TLSConfig brings certificates of its own.
func (h *httpServer) secure() bool {
	c := h.srv.TLSConfig
	return c != nil && (len(c.Certificates) > 0 || c.GetCertificate != nil || c.GetConfigForClient != nil)
}

func (h *httpServer) setContext(ctx context.Context)      { h.parent = ctx }
func (h *httpServer) observe(arrived func(*http.Request)) { h.arrived = arrived }
func (h *httpServer) retire()                             { h.retired.Store(true) }

// end cancels the contexts of the requests, for the cause given, and closes
// their connections.
func (h *httpServer) end(cause error) {
	h.cut(cause)
	_ = h.srv.Close()
}

func (h *httpServer) kill() {
	h.stopped.Store(true)
	switch {
	case h.listener != nil:
		h.listener.Close()
		h.end(context.Canceled)
	case h.inherited != nil:
		h.inherited.Close()
	}
}

// bind listens, so that a port in use is an error before anything serves.
func (h *httpServer) bind(ctx context.Context) error {
	if err := h.refuseTLS(); err != nil {
		return err
	}
	l := h.inherited
	if l == nil {
		addr := cmp.Or(h.srv.Addr, ":http")
		if h.secure() {
			addr = cmp.Or(h.srv.Addr, ":https")
		}
		var err error
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp", addr); err != nil {
			return err
		}
	}
	h.listener = newDrainListener(l)
	h.instrument()
	return nil
}

// instrument puts our hooks in front of the user's, which go on working.
func (h *httpServer) instrument() {
	h.changed = make(chan struct{}, 1)
	h.served = make(chan struct{})
	h.conns.changed, h.conns.epoch = h.notify, time.Now()

	h.handler = h.srv.Handler
	if h.handler == nil {
		h.handler = http.DefaultServeMux
	}
	h.srv.Handler = h

	// Ours comes last: when a connection is closed for us, and Run returns,
	// the user has been told.
	connState := h.srv.ConnState
	h.srv.ConnState = func(c net.Conn, state http.ConnState) {
		if connState != nil {
			connState(c, state)
		}
		h.conns.track(c, state)
	}

	// After the user's, whose context need not descend from the one given.
	connContext := h.srv.ConnContext
	h.srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if connContext != nil {
			ctx = connContext(ctx, c)
		}
		return h.conns.add(ctx, c)
	}

	// Neither Shutdown nor its deadline cancels the requests' contexts. Only
	// Close does, and without a cause.
	parent, base := h.parent, h.srv.BaseContext
	if parent == nil {
		parent = context.Background()
	}
	serving, cut := context.WithCancelCause(parent)
	h.cut = cut
	h.srv.BaseContext = func(l net.Listener) context.Context {
		if base == nil {
			return serving
		}
		if l == h.listener {
			l = h.listener.Listener // what it is without us
		}
		ctx, cancel := context.WithCancelCause(base(l))
		context.AfterFunc(serving, func() { cancel(context.Cause(serving)) })
		return ctx
	}
}

// ListenAndServe serves. It is not called by users, except through Listen.
func (h *httpServer) ListenAndServe() error {
	if h.listener == nil {
		if err := h.bind(context.Background()); err != nil {
			return err
		}
	}
	defer close(h.served)
	var err error
	if h.inherited == nil && h.secure() {
		err = h.serveTLS()
	} else {
		err = h.srv.Serve(h.listener)
	}
	if h.stopped.Load() {
		return http.ErrServerClosed // whatever Accept said of the closed listener
	}
	h.shut.Store(errors.Is(err, http.ErrServerClosed))
	return err
}

// ServeHTTP is in front of the user's handler. The ResponseWriter is passed on
// as it is: a wrapper would hide its other methods.
func (h *httpServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok { // not read by this server: somebody else calls its Handler
		h.handler.ServeHTTP(w, r)
		return
	}
	req := conn.begin(r)
	defer conn.end(req)
	if h.retired.Load() {
		h.sendAway(conn, w, r)
	}
	h.handler.ServeHTTP(w, r)
}

// sendAway asks the client to open its next connection elsewhere. HTTP/1 clients
// see Connection: close, HTTP/2 ones are sent GOAWAY by net/http.
//
// GOAWAY names the last request that will be answered, and net/http sends it
// without a warning: what is on its way then the client must send again, which
// it cannot if that was a POST whose body is gone. But a client that gets no
// answers soon sends no more requests. So it gets none for a moment, and then
// GOAWAY with the first.
func (h *httpServer) sendAway(conn *connection, w http.ResponseWriter, r *http.Request) {
	if h.arrived != nil {
		h.arrived(r)
	}
	if r.ProtoMajor == 2 {
		time.Sleep(conn.hold())
	}
	if r.Header.Get("Upgrade") == "" { // whose Connection header is the handler's
		w.Header().Set("Connection", "close")
	}
}

// Shutdown drains the server, in this order:
//
//  1. The listener is closed, after what waits in its accept queue was taken:
//     clients and load balancers are refused and go elsewhere.
//  2. Connections that were accepted are served on, for up to linger, while
//     every answer tells the client that the connection closes.
//  3. net/http is told to shut down. It closes idle connections, sends GOAWAY,
//     and calls what RegisterOnShutdown has. We close never-used connections,
//     which it would wait 5 s for.
//  4. What is in flight ends. We wait for our own count of it: net/http polls,
//     and sees the end up to half a second late.
//
// Shortly before ctx's deadline, the contexts of the requests that still run
// are cancelled. When ctx ends, or they have ended, connections are closed.
func (h *httpServer) Shutdown(ctx context.Context) error {
	if h.listener == nil {
		return h.srv.Shutdown(ctx) // never served
	}
	h.stopped.Store(true)
	cut := cutoff(ctx)
	defer cut.Stop()

	h.listener.drain(h.served)
	h.retire()
	h.serveOn(ctx)
	h.hangUp(ctx)
	for h.wait(ctx, cut.C, h.conns.quiet) {
		if h.settle(ctx) {
			h.end(stopCause(ctx))
			return nil
		}
	}
	return h.cutOff(ctx)
}

// serveOn waits until the accepted connections are closed or have fallen
// silent, at most for linger or a quarter of the time that there is.
func (h *httpServer) serveOn(ctx context.Context) {
	most := 10 * linger // by the clock
	if deadline, ok := ctx.Deadline(); ok {
		most = min(most, time.Until(deadline)/4)
	}
	end, ticks := time.NewTimer(most), time.NewTicker(tick)
	defer end.Stop()
	defer ticks.Stop()
	recent := h.conns.now() - linger
	for all, silent := 0, 0; !h.conns.none() && all < int(linger/tick); {
		select {
		case <-h.changed:
			silent = 0
		case <-ticks.C:
			all++
			silent++
			if !h.conns.quiet() {
				silent = 0
			}
			if silent >= silence && !h.conns.expectant(recent) {
				return
			}
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// hangUp closes what is idle and makes every answer from now on the last of
// its connection.
func (h *httpServer) hangUp(ctx context.Context) {
	// All that net/http has for this drops requests: SetKeepAlivesEnabled
	// those that wait in a socket for a goroutine to read them, and Shutdown
	// also those that were read at this moment. So neither may find any.
	h.wait(ctx, time.After(linger), h.conns.hangUp)
	h.srv.SetKeepAlivesEnabled(false)
	h.wait(ctx, time.After(tick), h.conns.handled)

	if h.shut.Load() {
		return // again, Shutdown would call RegisterOnShutdown's functions again
	}
	// With a context that has ended, Shutdown does all but wait.
	ended, end := context.WithCancel(context.Background())
	end()
	_ = h.srv.Shutdown(ended)
}

// settle lets HTTP/2 clients hang up, now that no request is left. It returns
// false if there is one again: the last before GOAWAY.
//
// Closing a connection on which bytes come that nobody reads, as the frames by
// which an HTTP/2 client acknowledges a response, makes the kernel drop what it
// has not sent yet, and makes the client drop what it has not read yet.
func (h *httpServer) settle(ctx context.Context) bool {
	for waited := time.Duration(0); ; waited += goAway {
		switch {
		case h.wait(ctx, time.After(goAway), h.conns.none):
			return true
		case !h.conns.quiet():
			return false
		case h.conns.sent() || waited > goAwayMost || ctx.Err() != nil:
			return true
		}
	}
}

// notify wakes who waits for conns to change. They change before stopped is read
// here, and are looked at after stopped is set there: no change is missed.
func (h *httpServer) notify() {
	if !h.stopped.Load() {
		return
	}
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// wait returns true as soon as done does, false when ctx or until ends.
func (h *httpServer) wait(ctx context.Context, until <-chan time.Time, done func() bool) bool {
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

// cutOff ends requests that did not end in time, and names them.
func (h *httpServer) cutOff(ctx context.Context) error {
	running := h.conns.list(h.handler)
	h.cut(stopCause(ctx))

	// A handler that heeds its context can still answer, up to the deadline.
	last := time.NewTimer(answerTime(ctx))
	defer last.Stop()
	if h.wait(ctx, last.C, h.conns.quiet) {
		h.wait(ctx, last.C, h.conns.none)
	}
	h.end(stopCause(ctx))
	if len(running) == 0 {
		return fmt.Errorf("connections cut off before they were idle: %w", cutReason(ctx))
	}
	return fmt.Errorf("requests cut off: %s: %w", strings.Join(running, ", "), cutReason(ctx))
}

// answerTime is how much of what is left to ctx's deadline goes to handlers
// whose contexts were cancelled.
func answerTime(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return linger
	}
	return time.Until(deadline) * 8 / 10
}
