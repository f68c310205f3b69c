// SPDX-License-Identifier: MIT

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
	changed func()               // called after each change
	stops   func() bool          // the stop has begun: clients are told to go
	forced  atomic.Bool          // Close closes at once
	gate    atomic.Pointer[gate] // nil before the stop
	epoch   time.Time
	all     sync.Map // net.Conn, as net/http has it, to *connection

	// The counters change with each request. A cache line of their own keeps what
	// is above, which each request reads, in the caches of all processors.
	_    [128]byte
	open atomic.Int64 // how many are neither closed nor hijacked
	busy atomic.Int64 // how many are busy
	_    [128]byte
}

// A connection is busy while net/http calls it active, which lasts until the
// response is flushed, and while one of its handlers runs: that of a hijacked
// connection does, and so may one whose HTTP/2 client has cancelled its request.
// An HTTP/1 connection of ours is also busy from the first byte of a request on,
// and whenever net/http does not wait for one: the rest of a request may be in its
// buffer, or its goroutine has yet to run.
type connection struct {
	in    *connections
	inner net.Conn // what was accepted; nil if not ours
	outer net.Conn // what net/http has: ours, or one around it, such as a *tls.Conn
	isTLS bool     // outer is a *tls.Conn

	awaits    atomic.Bool  // the next request: awaitsLocked of ours
	deadlines atomic.Int32 // for reads, that net/http has set since it awaits it

	mu        sync.Mutex // guards the rest
	state     http.ConnState
	goroutine string // the number of net/http's goroutine for it
	busy      bool
	counted   bool          // in open
	http2     bool          // speaks HTTP/2
	used      bool          // has carried a request
	hasBody   bool          // that request
	wasBusy   bool          // has had a response to read since the stop began
	lastUsed  time.Duration // start of its last request; when new, of the last wait for bytes
	interval  time.Duration // usual time from request to request; 0: has had one at most
	running   []*request
	spare     []*request    // for reuse: most connections have one request at a time
	held      chan struct{} // closed when responses may go; see holdBack

	h2c        *h2cConn // while a handler speaks HTTP/2 on it, and then:
	streams    map[uint32]bool
	lastStream uint32

	taken int64 // how many bytes were read, with the last request; of what is not ours

	// What its Read knows, of ours.
	buffer  int // the size of net/http's
	records records
	early   bool  // net/http's last read before it answered had bytes, or there was none
	reading bool  // net/http waits for the next request
	begun   bool  // a byte of it was read; also of what is not ours
	woken   bool  // a deadline of ours ends Read
	ending  bool  // to end when no request has begun
	cut     bool  // to end now
	ended   bool  // was ended
	hungUp  bool  // by the client
	leaving bool  // closed by net/http, and open until the client has read all
	looks   int32 // of the stop, since the client was last heard
	waited  int32 // looks of endIdle since a request has begun
}

// connectionKey is the key of a request's *connection in its context.
type connectionKey struct{}

// now is the time since epoch. It costs half as much as time.Now.
func (s *connections) now() time.Duration { return time.Since(s.epoch) }

// add is a ConnContext hook.
func (s *connections) add(ctx context.Context, conn net.Conn) context.Context {
	c := own(conn)
	if c == nil {
		c = &connection{in: s}
	}
	c.mu.Lock()
	c.outer, c.counted, c.lastUsed = conn, true, s.now()
	_, c.isTLS = conn.(*tls.Conn)
	s.all.Store(conn, c)
	s.open.Add(1)
	c.updateLocked()
	c.mu.Unlock()
	return context.WithValue(ctx, connectionKey{}, c)
}

// track is a ConnState hook. An HTTP/2 connection is active while it has an open
// stream, else idle.
func (s *connections) track(conn net.Conn, state http.ConnState) {
	c := own(conn)
	if c == nil {
		v, ok := s.all.Load(conn)
		if !ok {
			return
		}
		c = v.(*connection)
	}
	c.mu.Lock()
	if c.state == http.StateClosed || c.state == http.StateHijacked {
		c.mu.Unlock()
		return // h2c.NewHandler reports states of a hijacked connection
	}
	if c.isTLS && c.state == http.StateNew && state == http.StateActive {
		// The handshake is over: this does not block.
		c.http2 = c.outer.(*tls.Conn).ConnectionState().NegotiatedProtocol == "h2"
	}
	if c.goroutine == "" && state == http.StateActive {
		c.goroutine = goroutine.Current() // once: it takes a microsecond or two
	}
	c.state = state
	switch state {
	case http.StateActive:
		c.begun, c.early, c.waited = false, true, 0
	case http.StateIdle:
		c.deadlines.Store(0)
	}
	c.updateLocked()
	c.mu.Unlock()
	s.changed()
}

// none reports whether all connections are closed or hijacked.
func (s *connections) none() bool { return s.open.Load() == 0 }

// quiet reports whether no connection is busy.
func (s *connections) quiet() bool { return s.busy.Load() == 0 }

// goroutines are those of the busy connections.
func (s *connections) goroutines() (numbers []string) {
	s.each(func(c *connection) {
		if c.busy && c.goroutine != "" {
			numbers = append(numbers, c.goroutine)
		}
	})
	return numbers
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
	now := c.in.now()
	if c.interval = max(c.interval-c.interval/4, now-c.lastUsed); !c.used {
		c.interval = 0
	}
	c.lastUsed, c.used = now, true
	*req = request{r.Method, r.Host, r.URL.Path, now, len(c.running)}
	c.running = append(c.running, req)
	c.http2, c.hasBody = r.ProtoMajor == 2, r.ContentLength != 0
	c.takeLocked()
	c.updateLocked()
	return req
}

func (c *connection) end(req *request) {
	c.mu.Lock()
	last := len(c.running) - 1
	c.running[req.index] = c.running[last]
	c.running[req.index].index = req.index
	c.running = c.running[:last]
	if c.hasBody {
		c.takeLocked()
	}
	*req = request{}
	c.spare = append(c.spare, req)
	c.h2c = nil
	c.updateLocked()
	c.mu.Unlock()
	c.in.changed()
}

// takeLocked notes how much was read, of what is not ours. When the body of a request
// was read, net/http reads on in the background: so it is called before that, where
// there is no body, and else as soon as the handler has returned.
func (c *connection) takeLocked() {
	if c.inner == nil && !c.http2 {
		c.taken, _ = taken(c.outer)
	}
}

// holdBack waits for goAwayHold from the first call on, for all requests of the
// connection together. It counts ticks: on a starved machine 20 ms may pass in which
// the client has not run.
func (c *connection) holdBack() {
	c.mu.Lock()
	held, first := c.held, c.held == nil
	if first {
		held = make(chan struct{})
		c.held = held
	}
	c.mu.Unlock()
	if first {
		waitTicks(context.Background(), goAwayHold, nil)
		close(held)
	}
	<-held
}

// updateLocked counts c if it is busy, and forgets it when it is over. It reports
// whether c is no longer busy.
func (c *connection) updateLocked() (idle bool) {
	awaits := c.inner != nil && c.awaitsLocked()
	if awaits != c.awaits.Load() {
		c.awaits.Store(awaits)
	}
	busy := c.state == http.StateActive || len(c.running) > 0 || awaits && (c.begun || !c.reading)
	if c.h2c != nil {
		busy = len(c.streams) > 0
	}
	switch {
	case busy && !c.busy:
		c.in.busy.Add(1)
	case !busy && c.busy:
		c.in.busy.Add(-1)
		idle = true
	}
	c.busy = busy
	c.wasBusy = c.wasBusy || idle && c.used && c.in.stops()
	if c.goneLocked() {
		if c.counted {
			c.counted = false
			c.in.open.Add(-1)
		}
		if !busy {
			c.in.all.Delete(c.outer)
		}
	}
	return idle
}

// goneLocked reports whether net/http, a handler that speaks HTTP/2 on c, and the
// client are done with c.
func (c *connection) goneLocked() bool {
	return (c.state == http.StateClosed || c.state == http.StateHijacked) && !c.leaving && c.h2c == nil
}

// awaitsLocked reports whether c may get an HTTP/1 request next: it is new, or
// idle.
func (c *connection) awaitsLocked() bool {
	return (c.state == http.StateNew || c.state == http.StateIdle) && !c.http2
}
