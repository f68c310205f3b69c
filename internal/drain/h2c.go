// SPDX-License-Identifier: MIT

package drain

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// h2cWarning is logged once for a server whose handler is h2c.NewHandler.
const h2cWarning = "h2c.NewHandler hides HTTP/2 requests from the drain, which neither counts nor names them: " +
	"drop it, and set Server.Protocols with SetHTTP1(true) and SetUnencryptedHTTP2(true)"

// mayBecomeH2C reports whether golang.org/x/net/http2/h2c's handler would hijack
// the connection of r, to speak HTTP/2 on it for as long as it lasts.
func mayBecomeH2C(r *http.Request) bool {
	if r.ProtoMajor == 2 {
		return r.Method == "PRI" // the head of HTTP/2's connection preface
	}
	return hasToken(r.Header["Upgrade"], "h2c") && hasToken(r.Header["Connection"], "HTTP2-Settings")
}

// hasToken reports whether the comma-separated values have token, in any case.
func hasToken(values []string, token string) bool {
	for _, value := range values {
		for _, t := range strings.Split(value, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// An h2cConn is a hijacked connection that speaks HTTP/2. The server at its end
// knows nothing of a stop. So we read along, to know which streams are open, and
// put a GOAWAY between its frames.
//
// Our GOAWAY refuses no stream (RFC 9113, 6.8): the client opens no more, and
// hangs up when it has the responses of those that it has.
type h2cConn struct {
	net.Conn
	of         *connection
	announcing *atomic.Bool

	in       frames
	buffered []byte // what net/http has read beyond the request

	writing sync.Mutex // guards the rest
	out     frames
	began   bool        // the server has written
	http2   bool        // HTTP/2, as it begins with SETTINGS
	leave   atomic.Bool // GOAWAY is due
	told    bool        // it was written
}

// hijackH2C takes over what Hijack returned for r. What r's handler has still to
// write in HTTP/1 does not go through the connection.
func (c *connection) hijackH2C(conn net.Conn, rw *bufio.ReadWriter, r *http.Request, announcing *atomic.Bool) (net.Conn, *bufio.ReadWriter) {
	buffered, _ := rw.Peek(rw.Reader.Buffered())
	h := &h2cConn{Conn: conn, of: c, announcing: announcing, buffered: bytes.Clone(buffered)}
	h.in = frames{begun: c.clientSent, skip: len("SM\r\n\r\n")} // what is left of the preface
	h.out = frames{begun: h.serverBegins, ended: c.serverSent}
	c.mu.Lock()
	c.h2c, c.streams = h, map[uint32]bool{}
	if r.Method != "PRI" {
		h.in.skip = len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		c.streams[1] = true // r
		c.lastStream = 1
	}
	c.counted = true // until r's handler returns
	c.in.open.Add(1)
	c.updateLocked()
	c.mu.Unlock()
	return h, bufio.NewReadWriter(bufio.NewReader(h), rw.Writer)
}

func (h *h2cConn) Read(p []byte) (n int, err error) {
	if len(h.buffered) > 0 {
		n = copy(p, h.buffered)
		h.buffered = h.buffered[n:]
	} else {
		n, err = h.Conn.Read(p)
	}
	h.in.read(p[:n])
	return n, err
}

func (h *h2cConn) Write(p []byte) (n int, err error) {
	h.writing.Lock()
	if h.announcing.Load() && h.of.hadStream() {
		h.leave.Store(true)
	}
	h.goAwayLocked()
	n, err = h.Conn.Write(p)
	h.out.read(p[:n])
	h.writing.Unlock()
	h.goAway()
	return n, err
}

// goAway writes GOAWAY if it is due. If something is being written, that Write
// calls goAway when it is over.
func (h *h2cConn) goAway() {
	if h.leave.Load() && h.writing.TryLock() {
		h.goAwayLocked()
		h.writing.Unlock()
	}
}

func (h *h2cConn) goAwayLocked() {
	if !h.leave.Load() || h.told || !h.http2 || !h.out.between {
		return
	}
	h.told = true
	frame := [9 + 8]byte{2: 8, 3: frameGoAway}
	binary.BigEndian.PutUint32(frame[9:], 1<<31-1) // the last stream that will be served
	_, _ = h.Conn.Write(frame[:])
}

func (h *h2cConn) serverBegins(kind, _ byte, stream uint32) {
	if !h.began {
		h.began, h.http2 = true, kind == frameSettings && stream == 0
		if !h.http2 {
			h.of.endH2C()
		}
	}
}

// endH2C makes c a hijacked connection like others, after its handler has spoken
// something else, as WebSocket.
func (c *connection) endH2C() {
	c.mu.Lock()
	c.h2c = nil
	c.updateLocked()
	c.mu.Unlock()
	c.in.changed()
}

// clientSent and serverSent record the frames that open and close streams.
func (c *connection) clientSent(kind, _ byte, stream uint32) {
	c.mu.Lock()
	switch {
	case kind == frameHeaders && stream > c.lastStream:
		c.lastStream = stream
		c.lastUsed = c.in.now()
		c.streams[stream] = true
	case kind == frameReset:
		delete(c.streams, stream)
	}
	c.updateLocked()
	c.mu.Unlock()
	c.in.changed()
}

func (c *connection) serverSent(kind, flags byte, stream uint32) {
	ends := kind == frameReset || (kind == frameData || kind == frameHeaders) && flags&flagEndStream != 0
	if !ends {
		return
	}
	c.mu.Lock()
	delete(c.streams, stream)
	c.updateLocked()
	c.mu.Unlock()
	c.in.changed()
}

func (c *connection) hadStream() bool {
	c.mu.Lock()
	had := c.lastStream > 0
	c.mu.Unlock()
	return had
}

// tellH2C has the clients of hijacked HTTP/2 connections go away.
func (s *connections) tellH2C() {
	s.each(func(c *connection) {
		if c.h2c != nil {
			c.h2c.leave.Store(true)
			go c.h2c.goAway() // which a client that does not read may block
		}
	})
}

// Frames of HTTP/2, RFC 9113, section 6.
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	framePushPromise  = 5
	frameGoAway       = 7
	frameContinuation = 9

	flagEndStream  = 1
	flagEndHeaders = 4
)

// frames finds the frames in one direction of an HTTP/2 connection. It calls
// begun after the head of a frame, and ended after its last byte.
type frames struct {
	begun, ended func(kind, flags byte, stream uint32)

	skip    int // bytes that are no frame's head
	head    [9]byte
	n       int  // of head
	headers bool // CONTINUATION must come next
	between bool // a frame has ended, none begun, and any may come
}

func (s *frames) read(p []byte) {
	for len(p) > 0 {
		if s.skip == 0 {
			n := copy(s.head[s.n:], p)
			p = p[n:]
			if s.n += n; s.n < len(s.head) {
				break
			}
			s.skip = int(s.head[0])<<16 | int(s.head[1])<<8 | int(s.head[2])
			switch s.head[3] {
			case frameHeaders, framePushPromise, frameContinuation:
				s.headers = s.head[4]&flagEndHeaders == 0
			}
			s.call(s.begun)
		}
		n := min(s.skip, len(p))
		s.skip -= n
		p = p[n:]
		if s.skip == 0 && s.n == len(s.head) {
			s.call(s.ended)
			s.n = 0
		}
	}
	s.between = s.skip == 0 && s.n == 0 && !s.headers
}

func (s *frames) call(f func(kind, flags byte, stream uint32)) {
	if f != nil {
		f(s.head[3], s.head[4], binary.BigEndian.Uint32(s.head[5:])&(1<<31-1))
	}
}
