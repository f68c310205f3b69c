// SPDX-License-Identifier: MIT

package drain

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// piped returns a connection of ours as net/http has it, and its client's end.
func piped(t *testing.T, h *HTTP, srv *http.Server) (conn, client net.Conn) {
	client, inner := net.Pipe()
	t.Cleanup(func() { client.Close(); inner.Close() })
	conn = h.conns.wrap(inner)
	srv.ConnContext(t.Context(), conn)
	srv.ConnState(conn, http.StateNew)
	return conn, client
}

// TestLastLook: a request of which the last look finds the first byte has begun,
// and the rest of it is waited for.
func TestLastLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, srv := served()
		h.stopping.Store(true)
		conn, client := piped(t, h, srv)
		var sending sync.WaitGroup
		sending.Go(func() {
			synctest.Wait() // until conn is read
			h.conns.endIdle(h.newPatience(t.Context()))
			io.WriteString(client, "G")
			time.Sleep(10 * peekTime)
			h.conns.endIdle(h.newPatience(t.Context()))
			io.WriteString(client, "ET")
		})
		b := make([]byte, 100)
		for n := 0; n < len("GET"); {
			more, err := conn.Read(b[n:])
			if n += more; err != nil {
				t.Errorf("got %q, %v", b[:n], err)
				break
			}
		}
		client.Close()
		sending.Wait()
	})
}

// A deaf connection has bytes that no Read returns before its deadline.
type deaf struct {
	*net.TCPConn
	looks int
	look  func(n int)
}

func (c *deaf) Read([]byte) (int, error) {
	c.looks++
	c.look(c.looks)
	return 0, os.ErrDeadlineExceeded
}

// TestLastLookIsCut: it ends when the stop cuts the connection, whatever the kernel
// still has.
func TestLastLookIsCut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(client, "G")
	for !unread(accepted) {
		time.Sleep(time.Millisecond)
	}
	h, srv := served()
	h.stopping.Store(true)
	conn := h.conns.wrap(&deaf{accepted.(*net.TCPConn), 0, func(n int) {
		if n > 100 {
			t.Fatal("still looking")
		}
		if n == 3 {
			p := h.newPatience(t.Context())
			p.now = p.limit
			h.conns.endIdle(p)
		}
	}})
	srv.ConnContext(t.Context(), conn)
	h.conns.endIdle(h.newPatience(t.Context()))
	own(conn).endLocked(false)
	if n, err := conn.Read(make([]byte, 100)); n != 0 || err != errEnded {
		t.Errorf("got %d, %v; want the end", n, err)
	}
}

// TestResponseOfTheWindow: clients that had a response between the start of the stop
// and the end of idle connections have it to read, and others have nothing.
func TestResponseOfTheWindow(t *testing.T) {
	h, srv := served()
	conn, _ := piped(t, h, srv)
	c := own(conn)
	r := &http.Request{ProtoMajor: 2, Method: "GET", URL: new(url.URL)}
	request := func() {
		srv.ConnState(conn, http.StateActive)
		c.end(c.begin(r))
		srv.ConnState(conn, http.StateIdle)
	}
	request()
	h.stopping.Store(true)
	if !h.conns.delivered() {
		t.Error("a response from before the stop is waited for")
	}
	request()
	h.conns.endIdle(h.newPatience(t.Context()))
	if h.conns.delivered() {
		t.Error("a response in the stop is not waited for")
	}
}

// TestPreconnect: one of TLS that is silent for long is ended as others are, after
// a last look.
func TestPreconnect(t *testing.T) {
	h, srv := served()
	conn := tls.Server(h.conns.wrap(new(net.TCPConn)), nil)
	srv.ConnContext(t.Context(), conn)
	c := own(conn)
	handshake := func(b string) { // what a client sends of it
		c.beforeRead(512)
		c.afterRead([]byte(b), nil)
		c.beforeRead(512)
	}
	for _, test := range []struct {
		record    string
		ends, cut bool
	}{{"\x16\x03\x01\x00\x02ab", true, false}, {"\x16\x03\x01\x00\x02a", true, true}} {
		handshake(test.record)
		p := h.newPatience(t.Context())
		h.conns.endIdle(p)
		if c.ending {
			t.Errorf("%q is ended at once", test.record)
		}
		p.now += 2 * headerWait
		for range 2 * quietTicks {
			h.conns.endIdle(p)
		}
		if c.ending != test.ends || c.cut != test.cut {
			t.Errorf("%q: ends %t, cut %t; want %t, %t", test.record, c.ending, c.cut, test.ends, test.cut)
		}
		c.ending, c.woken = false, false
	}
}

// TestManyWait: all who wait learn of the last change, which comes once.
func TestManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := served()
		h.stopping.Store(true)
		h.conns.busy.Add(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var waiting sync.WaitGroup
		for range 5 {
			waiting.Go(func() {
				if !h.wait(ctx, h.conns.quiet) || ctx.Err() != nil {
					t.Error("not woken")
				}
			})
		}
		synctest.Wait()
		h.conns.busy.Add(-1)
		h.notify()
		waiting.Wait()
	})
}
