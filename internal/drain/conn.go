package drain

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
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

	// alertTime bounds the write of TLS's close_notify when we end a connection.
	// Package tls would wait 5 s for a client that has stopped reading.
	alertTime = 100 * time.Millisecond
)

// errEnded is what net/http reads from a connection that we end. It answers no
// half of a request when the error is a timeout.
var errEnded = os.ErrDeadlineExceeded

// The types of connections that net/http gets. The methods of *connection hide
// those of the socket, which is embedded one level deeper; the rest of the
// socket's methods (ReadFrom for sendfile, CloseWrite, SyscallConn, File) stay.
type (
	tcpConn struct {
		connection
		tcpSocket
	}
	unixConn struct {
		connection
		unixSocket
	}
	otherConn struct { // of a listener that wraps another
		connection
		otherSocket
	}
	statefulConn struct{ otherConn } // one with TLS inside, as net/http sees by its method

	tcpSocket   struct{ *net.TCPConn }
	unixSocket  struct{ *net.UnixConn }
	otherSocket struct{ net.Conn }
)

type connectionStater interface{ ConnectionState() tls.ConnectionState }

func (c *statefulConn) ConnectionState() tls.ConnectionState {
	return c.inner.(connectionStater).ConnectionState()
}

type closeWriter interface{ CloseWrite() error }

func (c *otherConn) CloseWrite() error {
	if inner, ok := c.inner.(closeWriter); ok {
		return inner.CloseWrite()
	}
	return errors.ErrUnsupported
}

// wrap returns a connection of ours around one that was accepted. It leaves a
// *tls.Conn as it is, since net/http has to see that type.
func (s *connections) wrap(accepted net.Conn) net.Conn {
	var c *connection
	var wrapped net.Conn
	switch inner := accepted.(type) {
	case *tls.Conn:
		return inner
	case *net.TCPConn:
		own := &tcpConn{tcpSocket: tcpSocket{inner}}
		c, wrapped = &own.connection, own
	case *net.UnixConn:
		own := &unixConn{unixSocket: unixSocket{inner}}
		c, wrapped = &own.connection, own
	case connectionStater:
		own := &statefulConn{otherConn{otherSocket: otherSocket{accepted}}}
		c, wrapped = &own.connection, own
	default:
		own := &otherConn{otherSocket: otherSocket{accepted}}
		c, wrapped = &own.connection, own
	}
	c.in, c.inner, c.ours = s, accepted, true
	return wrapped
}

// own returns the connection of ours that conn is, or has inside, or nil.
func own(conn net.Conn) *connection {
	if outer, ok := conn.(*tls.Conn); ok {
		conn = outer.NetConn()
	}
	switch c := conn.(type) {
	case *tcpConn:
		return &c.connection
	case *unixConn:
		return &c.connection
	case *otherConn:
		return &c.connection
	case *statefulConn:
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

// NetConn returns what the user's listener has returned: a handler that hijacks
// the connection gets ours.
func (c *connection) NetConn() net.Conn { return c.inner }

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
	c.mu.Lock()
	if !c.awaitsLocked() {
		c.mu.Unlock()
		return true
	}
	c.reading = true
	switch {
	case c.state == http.StateNew:
		c.lastUsed = c.in.now()
		c.buffer = max(c.buffer, size)
	case c.isTLS:
		// TLS needs the rest of a record.
		c.begun = c.records.partial()
	case size < c.buffer:
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
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isTLS {
		c.records.take(b)
	}
	if c.in.stops() {
		c.lastRead = c.in.now()
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
	c.mu.Lock()
	cut := c.cut
	c.mu.Unlock()
	for socket := bare(c.inner); !cut; {
		if !socket {
			// It may have read ahead. A read whose deadline is over would not
			// even try.
			_ = c.inner.SetReadDeadline(time.Now().Add(peekTime))
			n, err := c.inner.Read(b)
			_ = c.inner.SetReadDeadline(time.Time{})
			if timeout, ok := err.(net.Error); n > 0 || err != nil && !(ok && timeout.Timeout()) {
				c.afterRead(b[:max(n, 0)], err)
				return n, err
			}
		}
		if !unread(c.inner) {
			break
		}
		if socket {
			n, err := c.inner.Read(b)
			c.afterRead(b[:max(n, 0)], err)
			return n, err
		}
	}
	c.mu.Lock()
	c.ended = true
	plain := !c.isTLS
	c.mu.Unlock()
	if plain {
		c.inner.Close() // now, while we know that nothing has come
	}
	return 0, errEnded
}

// end makes Read end the connection when no request has begun or, with now, in
// any case.
func (c *connection) endLocked(now bool) {
	c.ending, c.cut = true, c.cut || now
	if c.reading && !c.woken && (c.cut || !c.begun) {
		c.woken = true
		_ = c.inner.SetReadDeadline(time.Unix(1, 0))
	}
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
	if half, ok := c.inner.(closeWriter); ok {
		_ = half.CloseWrite()
	}
	_ = c.inner.SetReadDeadline(time.Time{})
	b := make([]byte, 4<<10)
	for {
		n, err := c.inner.Read(b)
		c.mu.Lock()
		c.lastRead = c.in.now()
		c.mu.Unlock()
		if err != nil || n == 0 {
			break
		}
	}
	c.inner.Close()
	c.mu.Lock()
	c.leaving = false
	c.updateLocked()
	c.mu.Unlock()
	c.in.changed()
}

// records follows the records of a TLS connection, to know whether half of one
// was read.
type records struct {
	header [5]byte
	have   uint8
	body   int // bytes that the record still has
}

func (r *records) partial() bool { return r.have > 0 || r.body > 0 }

func (r *records) take(b []byte) {
	for len(b) > 0 {
		if r.body > 0 {
			n := min(r.body, len(b))
			r.body -= n
			b = b[n:]
			continue
		}
		n := copy(r.header[r.have:], b)
		b = b[n:]
		if r.have += uint8(n); r.have == 5 {
			r.have, r.body = 0, int(r.header[3])<<8|int(r.header[4])
		}
	}
}

// maxWrappers bounds how deep we look for a socket.
const maxWrappers = 8

// unwrap returns the connection inside conn, or nil: by its method NetConn, as a
// *tls.Conn has it, or embedded.
func unwrap(conn net.Conn) net.Conn {
	if outer, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return outer.NetConn()
	}
	v := reflect.Indirect(reflect.ValueOf(conn))
	if v.Kind() != reflect.Struct {
		return nil
	}
	field := v.FieldByName("Conn")
	if !field.IsValid() || !field.CanInterface() {
		return nil
	}
	inner, _ := field.Interface().(net.Conn)
	return inner
}
