package pid1

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// connections are those of an http.Server, with the requests that they carry.
//
// A request passes through here four times, and so do those on all the other
// processors. So there is no lock for all: what a request writes to is its own
// connection, and one counter.
type connections struct {
	changed func() // called after each change
	epoch   time.Time

	all  sync.Map     // of net.Conn to *connection
	open atomic.Int64 // how many are neither closed nor hijacked
	busy atomic.Int64 // how many are busy
}

// A connection is busy while net/http calls it active, which lasts until the
// answer is flushed, and while one of its handlers runs, which a hijacked
// connection has, and one whose HTTP/2 client gave up on its request.
type connection struct {
	in   *connections
	conn net.Conn

	mu      sync.Mutex // guards the rest
	state   http.ConnState
	busy    bool
	http2   bool          // had a request of that
	parting bool          // was busy when it was told to hang up
	last    time.Duration // when its last request began, else when it was accepted
	running []*request
	spare   []*request // for reuse: most have one request at a time
	heldTo  time.Time  // no answers before
}

// A request is what is known of a running request. It copies what it needs:
// handlers may change theirs at any time.
type request struct {
	method, host, path string
	began              time.Duration // since connections.epoch: time.Now costs twice as much
	index              int           // in connection.running
}

// connectionKey is the key of a request's *connection in its context.
type connectionKey struct{}

// add is a ConnContext hook.
func (s *connections) add(ctx context.Context, conn net.Conn) context.Context {
	c := &connection{in: s, conn: conn, last: s.now()}
	s.all.Store(conn, c)
	s.open.Add(1)
	return context.WithValue(ctx, connectionKey{}, c)
}

// track is a ConnState hook. HTTP/2 connections are active while they have an
// open stream, else idle.
func (s *connections) track(conn net.Conn, state http.ConnState) {
	if v, ok := s.all.Load(conn); ok {
		v.(*connection).track(state)
	}
}

func (c *connection) track(state http.ConnState) {
	c.mu.Lock()
	c.state = state
	c.updateLocked()
	if c.goneLocked() {
		c.in.open.Add(-1)
	}
	c.mu.Unlock()
	c.in.changed()
}

// begin tells that the handler of r is about to run. The result is for end.
func (c *connection) begin(r *http.Request) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	var req *request
	if last := len(c.spare) - 1; last >= 0 {
		req, c.spare = c.spare[last], c.spare[:last]
	} else {
		req = new(request)
	}
	c.last = c.in.now()
	*req = request{r.Method, r.Host, r.URL.Path, c.last, len(c.running)}
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
	c.updateLocked()
	c.mu.Unlock()
	c.in.changed()
}

// hold returns how long the request that calls it has to wait: all together, the
// requests of a connection wait once.
func (c *connection) hold() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heldTo.IsZero() {
		c.heldTo = time.Now().Add(hold)
	}
	return time.Until(c.heldTo)
}

// updateLocked counts c if it is busy, and forgets it when it is over.
func (c *connection) updateLocked() {
	busy := c.state == http.StateActive || len(c.running) > 0
	switch {
	case busy && !c.busy:
		c.in.busy.Add(1)
	case !busy && c.busy:
		c.in.busy.Add(-1)
	}
	c.busy = busy
	if !busy && c.goneLocked() {
		c.in.all.Delete(c.conn)
	}
}

// goneLocked reports whether net/http is done with c.
func (c *connection) goneLocked() bool {
	return c.state == http.StateClosed || c.state == http.StateHijacked
}

// none reports whether there is no connection but hijacked ones.
func (s *connections) none() bool { return s.open.Load() == 0 }

// quiet reports whether no connection is busy.
func (s *connections) quiet() bool { return s.busy.Load() == 0 }

// each calls f for each connection, while that is locked.
func (s *connections) each(f func(*connection)) {
	s.all.Range(func(_, v any) bool {
		c := v.(*connection)
		c.mu.Lock()
		defer c.mu.Unlock()
		f(c)
		return true
	})
}

// handled reports whether each active connection has a handler that runs: none
// is on its way from net/http's reading of a request to ours.
func (s *connections) handled() bool {
	yes := true
	s.each(func(c *connection) {
		if c.state == http.StateActive && len(c.running) == 0 {
			yes = false
		}
	})
	return yes
}

// now is the time since epoch.
func (s *connections) now() time.Duration { return time.Since(s.epoch) }

// expectant reports whether an HTTP/1 connection is likely to carry a request
// soon: it was accepted, or carried one, after a time.
func (s *connections) expectant(after time.Duration) bool {
	yes := false
	s.each(func(c *connection) {
		if c.last > after && (c.state == http.StateNew || c.state == http.StateIdle && !c.http2Locked()) {
			yes = true
		}
	})
	return yes
}

// hangUp closes the HTTP/1 connections that are idle or never carried a request,
// as those of browsers' pre-connects and load balancers' TCP health checks. It
// returns false if it left some because a request waits to be read from them.
func (s *connections) hangUp() (all bool) {
	all = true
	s.each(func(c *connection) {
		c.parting = c.busy
		switch {
		case c.state != http.StateNew && (c.state != http.StateIdle || c.http2Locked()):
		case unread(c.conn):
			all = false
		default:
			c.conn.Close()
		}
	})
	return all
}

// http2Locked reports whether c, which is not new, speaks HTTP/2. One without
// TLS is known by its first request.
func (c *connection) http2Locked() bool {
	conn, ok := c.conn.(*tls.Conn)
	return c.http2 || ok && conn.ConnectionState().NegotiatedProtocol == "h2"
}

// sent reports whether clients have received all that was written to them. The
// kernel knows that of a client's machine, but not whether the client, too, has
// read its last response.
func (s *connections) sent() bool {
	yes := true
	s.each(func(c *connection) {
		if c.parting || unsent(c.conn) {
			yes = false
		}
	})
	return yes
}

// listed bounds the requests that an error names.
const listed = 10

// list describes the running requests, the oldest first, by method, pattern and
// age. The path stands in for the pattern if the handler is not an
// *http.ServeMux. The query, where secrets travel, is left out.
func (s *connections) list(h http.Handler) []string {
	var running []request
	s.each(func(c *connection) {
		for _, req := range c.running {
			running = append(running, *req)
		}
	})

	// With no lock held: the patterns' matching is not ours to bound. So few are
	// wanted that looking for each is less than to sort all.
	var list []string
	for ; len(running) > 0; running = running[1:] {
		if len(list) == listed {
			return append(list, fmt.Sprintf("and %d more", len(running)))
		}
		oldest := &running[0]
		for i := range running {
			if running[i].began < oldest.began {
				oldest = &running[i]
			}
		}
		running[0], *oldest = *oldest, running[0]
		req := running[0]
		list = append(list, fmt.Sprintf("%s (%s)", req.describe(h), (s.now()-req.began).Round(time.Millisecond)))
	}
	return list
}

func (req *request) describe(h http.Handler) string {
	what := req.path
	if mux, ok := h.(*http.ServeMux); ok {
		_, pattern := mux.Handler(&http.Request{Method: req.method, Host: req.host, URL: &url.URL{Path: req.path}})
		if strings.Contains(pattern, " ") {
			return pattern // has the method
		}
		if pattern != "" {
			what = pattern
		}
	}
	return req.method + " " + what
}
