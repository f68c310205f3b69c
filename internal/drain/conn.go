// SPDX-License-Identifier: MIT

package drain

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// An idle connection is ended by its own reader, and by nobody else: only the
// reader knows whether a request has begun. A Close from outside races with the
// request that was just read, and loses it, at times after its handler ran. So
// net/http reads from connections of our own types. Their Read is woken by a read
// deadline, looks at the kernel's buffer once more, and only then says that the
// connection is over. See docs/design.md, "Idle connections".

const (
	// peekTime is how long the last look at a connection takes that is no plain
	// socket, or not on Linux.
	peekTime = time.Millisecond

	// usualBuffer is the size of net/http's buffer. The first reads may ask for
	// less, where it looks for HTTP/2's preface.
	usualBuffer = 4 << 10

	// alertTime bounds the write of TLS's close_notify when we end a connection.
	// Package tls would wait 5 s for a client that has stopped reading.
	alertTime = 100 * time.Millisecond
)

// errEnded is what net/http reads from a connection that we end. It answers no
// half of a request when the error is a timeout.
var errEnded = os.ErrDeadlineExceeded

// A tcpConn is what net/http gets for a TCP socket. What else that can do (ReadFrom
// for sendfile, CloseWrite, SyscallConn, File) stays.
type tcpConn struct {
	*net.TCPConn
	state connection
}

func (c *tcpConn) Read(b []byte) (int, error)         { return c.state.Read(b) }
func (c *tcpConn) Close() error                       { return c.state.Close() }
func (c *tcpConn) SetReadDeadline(t time.Time) error  { return c.state.SetReadDeadline(t) }
func (c *tcpConn) SetWriteDeadline(t time.Time) error { return c.state.SetWriteDeadline(t) }
func (c *tcpConn) NetConn() net.Conn                  { return c.TCPConn }

// For another kind of socket, and for the connection of a listener that wraps
// another, net/http gets the connection itself.
func (c *connection) Write(b []byte) (int, error)   { return c.inner.Write(b) }
func (c *connection) LocalAddr() net.Addr           { return c.inner.LocalAddr() }
func (c *connection) RemoteAddr() net.Addr          { return c.inner.RemoteAddr() }
func (c *connection) SetDeadline(t time.Time) error { return c.inner.SetDeadline(t) }
func (c *connection) NetConn() net.Conn             { return c.inner }
func (c *connection) CloseWrite() error             { return closeWrite(c.inner) }

// A statedConn has what net/http asks of a connection of TLS that is no *tls.Conn.
type (
	stater interface {
		ConnectionState() tls.ConnectionState
	}
	statedConn struct{ connection }
)

func (c *statedConn) ConnectionState() tls.ConnectionState {
	return c.inner.(stater).ConnectionState()
}

func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// wrap returns a connection of ours around one that was accepted, unless net/http
// has to see its type.
func (s *connections) wrap(accepted net.Conn) net.Conn {
	switch inner := accepted.(type) {
	case *tls.Conn:
		return accepted
	case *net.TCPConn:
		return &tcpConn{inner, connection{in: s, inner: inner}}
	case stater:
		return &statedConn{connection{in: s, inner: accepted}}
	}
	return &connection{in: s, inner: accepted}
}

// own returns the connection of ours that conn is, or has inside, or nil.
func own(conn net.Conn) *connection {
	for outer, ok := conn.(*tls.Conn); ok; outer, ok = conn.(*tls.Conn) {
		conn = outer.NetConn()
	}
	switch c := conn.(type) {
	case *tcpConn:
		return &c.state
	case *connection:
		return c
	case *statedConn:
		return &c.connection
	}
	return nil
}

// accepted is what the user's listener has returned, for the user's hooks.
func accepted(conn net.Conn) net.Conn {
	if _, ok := conn.(*tls.Conn); ok {
		return conn
	}
	if c := own(conn); c != nil {
		return c.inner
	}
	return conn
}

// Read is the socket's, unless the connection is to end and no request has begun.
func (c *connection) Read(b []byte) (int, error) {
	if !c.beforeRead(len(b)) {
		return c.readOnceMore(b)
	}
	n, err := c.inner.Read(b)
	if woken := c.afterRead(b[:max(n, 0)], err); woken && n <= 0 {
		return c.readOnceMore(b)
	}
	return n, err
}

// beforeRead notes that net/http waits for bytes. It returns false when the
// connection is to end, and no request has begun.
func (c *connection) beforeRead(size int) bool {
	if !c.awaits.Load() {
		return true // part of a request, or HTTP/2
	}
	c.mu.Lock()
	c.passLocked()
	c.reading = true
	switch {
	case c.state == http.StateNew:
		c.lastUsed, c.looks = c.in.now(), 0
		c.buffer = max(c.buffer, size)
	case c.isTLS:
		// TLS needs the rest of a record. Or net/http has had bytes while it
		// answered the last request, when it reads in the background what comes
		// after its body. Or it has four bytes of the next one, which makes it set
		// a deadline for the rest.
		c.begun = c.begun || c.records.partial() || c.early || c.deadlines.Load() > 1
	case size < max(c.buffer, usualBuffer):
		// net/http's buffer is not empty: its background read took the first
		// byte of this request while the last one was answered.
		c.begun = true
	}
	end := c.cut || c.ending && !c.begun
	changed := c.updateLocked()
	c.mu.Unlock()
	if changed {
		c.in.changed()
	}
	return !end
}

// afterRead notes what was read. It reports whether we have woken the reader.
func (c *connection) afterRead(b []byte, err error) (woken bool) {
	if !c.reading && !c.isTLS && !c.in.stops() { // nobody else sets reading
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isTLS {
		c.records.take(b)
		if c.state == http.StateActive {
			c.early = len(b) > 0
		}
	}
	if c.in.stops() {
		c.looks = 0
		c.hungUp = c.hungUp || err == io.EOF
	}
	if !c.reading {
		return false
	}
	c.reading = false
	if len(b) > 0 {
		c.begun = true
		c.http2 = c.http2 || c.state == http.StateNew && !c.isTLS && len(b) > 2 && string(b[:3]) == "PRI"
	}
	if c.woken {
		c.woken, woken = false, true
		_ = c.inner.SetReadDeadline(time.Time{}) // net/http sets its own before the next request
	}
	c.updateLocked()
	return woken
}

// readOnceMore ends the connection, unless bytes have come after all.
func (c *connection) readOnceMore(b []byte) (int, error) {
	socket := bare(c.inner)
	for first := true; c.mayLook() && (first && !socket || unread(c.inner)); first = false {
		if !socket {
			// It may have read ahead, which only Read tells. One whose deadline is
			// over would not even try.
			_ = c.inner.SetReadDeadline(time.Now().Add(peekTime))
		}
		n, err := c.inner.Read(b)
		c.afterRead(b[:max(n, 0)], err)
		if timeout, ok := err.(net.Error); n > 0 || err != nil && !(ok && timeout.Timeout()) {
			return n, err
		}
	}
	c.mu.Lock()
	c.ended = true
	plain := !c.isTLS
	c.mu.Unlock()
	if plain {
		_ = closeConn(c.inner) // now, while we know that nothing has come
	}
	return 0, errEnded
}

// mayLook reports whether one more look is allowed, and notes that this one is a
// read that nobody needs to wake.
func (c *connection) mayLook() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading, c.woken = true, true
	return !c.cut
}

// endLocked makes Read end the connection when no request has begun or, with now, in
// any case.
func (c *connection) endLocked(now bool) {
	c.ending, c.cut = true, c.cut || now
	if c.reading && !c.woken && (c.cut || !c.begun) {
		c.woken = true
		_ = c.inner.SetReadDeadline(time.Unix(1, 0))
	}
}

// SetReadDeadline notes that net/http waits for a request, or for the rest of one.
func (c *connection) SetReadDeadline(t time.Time) error {
	if c.awaits.Load() {
		c.deadlines.Add(1)
	}
	return c.inner.SetReadDeadline(t)
}

// SetWriteDeadline leaves little time for what TLS writes when we have ended the
// connection.
func (c *connection) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	ended := c.ended
	c.mu.Unlock()
	if ended || c.in.forced.Load() {
		if soon := time.Now().Add(alertTime); t.IsZero() || t.After(soon) {
			t = soon
		}
	}
	return c.inner.SetWriteDeadline(t)
}

// Close closes the socket. During the stop a socket with a response that the
// client may not have read stays open for reading: if a frame of the client (or a
// request that nobody will answer) met a closed socket, the kernel would reset
// the connection and drop that response.
func (c *connection) Close() error {
	c.mu.Lock()
	now := c.ended || c.hungUp || c.in.forced.Load() || !c.in.stops() || c.state == http.StateHijacked
	switch {
	case now || !c.leaving && !c.http2 && !unread(c.inner):
		c.mu.Unlock()
		if c.in.stops() {
			return closeConn(c.inner)
		}
		return c.inner.Close()
	case c.leaving: // net/http closes some connections twice
		c.mu.Unlock()
		return nil
	}
	c.leaving = true
	c.wasBusy = c.wasBusy || !c.http2
	c.mu.Unlock()
	go c.discard()
	return nil
}

// discard reads until the client hangs up, or the stop is over.
func (c *connection) discard() {
	_ = closeWrite(c.inner)
	_ = c.inner.SetReadDeadline(time.Time{})
	b := make([]byte, 4<<10)
	for {
		n, err := c.inner.Read(b)
		c.mu.Lock()
		c.looks = 0
		c.mu.Unlock()
		if err != nil || n == 0 {
			break
		}
	}
	_ = closeConn(c.inner)
	c.mu.Lock()
	c.leaving = false
	c.updateLocked()
	c.mu.Unlock()
	c.in.changed()
}
