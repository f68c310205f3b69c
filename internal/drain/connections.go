package drain

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/goroutine"
)

// connections are the open connections of a server and their requests.
//
// Each request changes its connection four times, on all processors at once. So
// there is no lock for all of them: a request writes to its own connection and
// to one counter.
type connections struct {
	changed func() // called after each change
	epoch   time.Time

	all  sync.Map     // net.Conn to *connection
	open atomic.Int64 // how many are neither closed nor hijacked
	busy atomic.Int64 // how many are busy
}

// A connection is busy while net/http calls it active, which lasts until the
// response is flushed, and while one of its handlers runs: that of a hijacked
// connection does, and so may one whose HTTP/2 client has cancelled its request.
type connection struct {
	in   *connections
	conn net.Conn

	mu        sync.Mutex // guards the rest
	state     http.ConnState
	goroutine string // the number of net/http's goroutine for it
	busy      bool
	http2     bool          // has carried an HTTP/2 request
	wasBusy   bool          // when idle connections were closed
	lastUsed  time.Duration // start of its last request, else of the connection
	running   []*request
	spare     []*request // for reuse: most connections have one request at a time
	heldUntil time.Time  // no responses before

	h2c        *h2cConn // while a handler speaks HTTP/2 on it, and then:
	streams    map[uint32]bool
	lastStream uint32
}

// connectionKey is the key of a request's *connection in its context.
type connectionKey struct{}

// now is the time since epoch. It costs half as much as time.Now.
func (s *connections) now() time.Duration { return time.Since(s.epoch) }

// add is a ConnContext hook.
func (s *connections) add(ctx context.Context, conn net.Conn) context.Context {
	c := &connection{in: s, conn: conn, lastUsed: s.now()}
	s.all.Store(conn, c)
	s.open.Add(1)
	return context.WithValue(ctx, connectionKey{}, c)
}

// track is a ConnState hook. An HTTP/2 connection is active while it has an open
// stream, else idle.
func (s *connections) track(conn net.Conn, state http.ConnState) {
	v, ok := s.all.Load(conn)
	if !ok {
		return
	}
	c := v.(*connection)
	c.mu.Lock()
	if !c.goneLocked() { // h2c.NewHandler reports states of a hijacked connection
		c.state = state
		if c.goroutine == "" && state == http.StateActive {
			c.goroutine = goroutine.Current() // once: it takes a microsecond or two
		}
		c.updateLocked()
		if c.goneLocked() {
			s.open.Add(-1)
		}
	}
	c.mu.Unlock()
	s.changed()
}

// none reports whether all connections are closed or hijacked.
func (s *connections) none() bool { return s.open.Load() == 0 }

// quiet reports whether no connection is busy.
func (s *connections) quiet() bool { return s.busy.Load() == 0 }

// handled reports whether every active connection has a running handler: no
// request is on its way from net/http's parser to its handler.
func (s *connections) handled() bool {
	yes := true
	s.each(func(c *connection) {
		if c.state == http.StateActive && len(c.running) == 0 {
			yes = false
		}
	})
	return yes
}

// usedAfter reports whether an HTTP/1 connection is likely to carry a request
// soon, because it was accepted or carried one after since.
func (s *connections) usedAfter(since time.Duration) bool {
	yes := false
	s.each(func(c *connection) {
		if c.lastUsed > since && c.unusedLocked() {
			yes = true
		}
	})
	return yes
}

// closeIdle closes the HTTP/1 connections that are idle or never carried a
// request, such as browser preconnects and TCP health checks. It returns false
// if a request waits to be read from one of them.
func (s *connections) closeIdle() (all bool) {
	all = true
	s.each(func(c *connection) {
		c.wasBusy = c.busy
		switch {
		case !c.unusedLocked():
		case unread(c.conn):
			all = false
		default:
			c.conn.Close()
		}
	})
	return all
}

// goroutines are those of the busy connections.
func (s *connections) goroutines() (numbers []string) {
	s.each(func(c *connection) {
		if c.busy && c.goroutine != "" {
			numbers = append(numbers, c.goroutine)
		}
	})
	return numbers
}

// allSent reports whether clients have received all that was written to them.
// The kernel knows whether a client's machine has; whether the client has read
// its last response, nobody knows.
func (s *connections) allSent() bool {
	yes := true
	s.each(func(c *connection) {
		if c.wasBusy || unsent(c.conn) {
			yes = false
		}
	})
	return yes
}

// each calls f with each connection, locked.
func (s *connections) each(f func(*connection)) {
	s.all.Range(func(_, v any) bool {
		c := v.(*connection)
		c.mu.Lock()
		defer c.mu.Unlock()
		f(c)
		return true
	})
}

// begin records that the handler of r is about to run. The result is for end.
func (c *connection) begin(r *http.Request) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	var req *request
	if last := len(c.spare) - 1; last >= 0 {
		req, c.spare = c.spare[last], c.spare[:last]
	} else {
		req = new(request)
	}
	c.lastUsed = c.in.now()
	*req = request{r.Method, r.Host, r.URL.Path, c.lastUsed, len(c.running)}
	c.running = append(c.running, req)
	c.http2 = r.ProtoMajor == 2
	c.updateLocked()
	return req
}

func (c *connection) end(req *request) {
	c.mu.Lock()
	last := len(c.running) - 1
	c.running[req.index] = c.running[last]
	c.running[req.index].index = req.index
	c.running = c.running[:last]
	*req = request{}
	c.spare = append(c.spare, req)
	if c.h2c != nil {
		c.h2c = nil
		c.in.open.Add(-1)
	}
	c.updateLocked()
	c.mu.Unlock()
	c.in.changed()
}

// holdBack returns how long the request that calls it must wait: goAwayHold from
// the first call on, for all requests of the connection together.
func (c *connection) holdBack() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heldUntil.IsZero() {
		c.heldUntil = time.Now().Add(goAwayHold)
	}
	return time.Until(c.heldUntil)
}

// updateLocked counts c if it is busy, and forgets it when it is over.
func (c *connection) updateLocked() {
	busy := c.state == http.StateActive || len(c.running) > 0
	if c.h2c != nil {
		busy = len(c.streams) > 0
	}
	switch {
	case busy && !c.busy:
		c.in.busy.Add(1)
	case !busy && c.busy:
		c.in.busy.Add(-1)
	}
	c.busy = busy
	if !busy && c.goneLocked() && c.h2c == nil {
		c.in.all.Delete(c.conn)
	}
}

// goneLocked reports whether net/http is done with c.
func (c *connection) goneLocked() bool {
	return c.state == http.StateClosed || c.state == http.StateHijacked
}

// unusedLocked reports whether c is new, or an idle HTTP/1 connection.
func (c *connection) unusedLocked() bool {
	return c.state == http.StateNew || c.state == http.StateIdle && !c.http2Locked()
}

// http2Locked reports whether c, which is not new, speaks HTTP/2. Without TLS,
// its first request tells.
func (c *connection) http2Locked() bool {
	conn, ok := c.conn.(*tls.Conn)
	return c.http2 || ok && conn.ConnectionState().NegotiatedProtocol == "h2"
}
