// SPDX-License-Identifier: MIT

package drain

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// A stubborn listener does not close before the end of the test.
type stubborn struct {
	net.Listener
	end <-chan struct{}
}

func (l stubborn) Close() error {
	<-l.end
	return l.Listener.Close()
}

// TestListenerHangs: a listener whose Close does not return holds up no stop.
func TestListenerHangs(t *testing.T) {
	for name, stop := range map[string]func(context.Context, net.Listener) error{
		"Shutdown": func(ctx context.Context, l net.Listener) error {
			h, srv := served()
			h.Bind(l)
			go h.Serve(srv.Serve)
			synctest.Wait()
			return h.Shutdown(ctx, nil)
		},
		"Kill": func(ctx context.Context, l net.Listener) error {
			h, srv := served()
			h.Bind(l)
			go h.Serve(srv.Serve)
			synctest.Wait()
			h.Kill()
			return nil
		},
		"Foreign": func(ctx context.Context, l net.Listener) error {
			f := NewForeign(l)
			f.Drain(ctx)
			return f.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				end := make(chan struct{})
				defer close(end)
				began := time.Now()
				if err := stop(t.Context(), stubborn{newPipes(), end}); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// TestUsersCloseHangs: a Close of the user's, which keeps the server locked.
func TestUsersCloseHangs(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closing, end, closed := make(chan bool, 10), make(chan bool), make(chan error)
	h, srv := served()
	h.Bind(&wrapper{func(conn net.Conn) net.Conn { return &closeHook{conn, func() { closing <- true; <-end }} }, inner})
	done := make(chan error)
	go func() { done <- h.Serve(srv.Serve) }()
	conn, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if !get(conn) {
		t.Fatal("not served")
	}
	go func() { closed <- srv.Close() }()
	<-closing
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_ = h.Shutdown(ctx, context.Canceled) // which returns
	close(end)
	<-closed
	<-done
}

type closeHook struct {
	net.Conn
	hook func()
}

func (c *closeHook) Close() error {
	c.hook()
	return c.Conn.Close()
}

// TestWrappedTLSStoppedReading: TLS inside a user's connection, whose goodbye the
// client does not read. Package tls would wait for 5 s.
func TestWrappedTLSStoppedReading(t *testing.T) {
	server, client := tlsConfigs()
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"hidden": func(conn net.Conn) net.Conn { return &closeHook{conn, func() {}} },
		"shown":  func(conn net.Conn) net.Conn { return struct{ *tls.Conn }{conn.(*tls.Conn)} },
		"bare":   func(conn net.Conn) net.Conn { return conn },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, srv := served()
				l := newPipes()
				h.Bind(&wrapper{wrap, &wrapper{func(conn net.Conn) net.Conn { return tls.Server(conn, server) }, l}})
				done := make(chan error)
				go func() { done <- h.Serve(srv.Serve) }()
				inner := l.dial()
				defer inner.Close()
				conn := tls.Client(inner, client)
				io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if err := h.Shutdown(t.Context(), context.Canceled); err != nil {
					t.Error(err)
				}
				<-done
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// A deadlines connection tells its read deadline.
type deadlines struct {
	net.Conn
	read time.Time
}

func (c *deadlines) SetReadDeadline(t time.Time) error {
	c.read = t
	return nil
}

// TestForeignDeadline: net/http sets read deadlines, too, of which one may come
// after ours.
func TestForeignDeadline(t *testing.T) {
	h, srv := served()
	var inner deadlines
	conn := tls.Server(&inner, nil) // of a listener of the user's
	srv.ConnContext(t.Context(), conn)
	for range 2 {
		srv.ConnState(conn, http.StateIdle)
		conn.SetReadDeadline(time.Time{})
		if !h.conns.endIdle(h.newPatience(t.Context())) || inner.read.IsZero() {
			t.Errorf("the deadline is %v, want one that is over", inner.read)
		}
	}
}
