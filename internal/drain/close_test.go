// SPDX-License-Identifier: MIT

package drain

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A pipes is a listener of connections without a buffer: a client that does not
// read makes each Write wait.
type pipes struct {
	conns chan net.Conn
	ended chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }
func (p *pipes) Close() error   { close(p.ended); return nil }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// tlsConfigs are for a server and its clients.
func tlsConfigs() (server, client *tls.Config) {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	client = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	client.ServerName = "example.com"
	return &tls.Config{Certificates: s.TLS.Certificates}, client
}

// bubble is a test whose time passes only while all wait.
func bubble(test func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) { synctest.Test(t, test) }
}

// TestStoppedReading: TLS clients that read no more cannot be told goodbye. They
// are all closed at once, and not one after the other, 5 s each.
func TestStoppedReading(t *testing.T) {
	server, client := tlsConfigs()
	for name, serve := range map[string]func(*HTTP, *http.Server, net.Listener) error{
		"ServeTLS": func(h *HTTP, srv *http.Server, l net.Listener) error {
			srv.TLSConfig = server.Clone() // to which net/http adds protocols
			h.Bind(l)
			return h.Serve(func(l net.Listener) error { return srv.ServeTLS(l, "", "") })
		},
		"NewListener": func(h *HTTP, srv *http.Server, l net.Listener) error {
			h.Bind(tls.NewListener(l, server))
			return h.Serve(srv.Serve)
		},
	} {
		for _, inFlight := range []bool{false, true} {
			t.Run(name, bubble(func(t *testing.T) {
				const clients = 35
				var cancelled atomic.Int64
				entered := make(chan bool, clients)
				srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/wait" {
						entered <- true
						<-r.Context().Done()
						cancelled.Add(1)
					}
				})}
				h := NewHTTP(context.Background(), srv, Hooks{})
				l := newPipes()
				done := make(chan error)
				go func() { done <- serve(h, srv, l) }()
				for range clients {
					conn := tls.Client(l.dial(), client)
					io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
					if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
						t.Fatal(err)
					}
					if inFlight {
						io.WriteString(conn, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
						<-entered
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				began := time.Now()
				err := h.Shutdown(ctx, context.Canceled)
				took := time.Since(began)
				<-done
				if inFlight == (err == nil) || ctx.Err() != nil {
					t.Errorf("Shutdown: %v, after %v", err, took)
				}
				if got := cancelled.Load(); inFlight && got != clients {
					t.Errorf("the contexts of %d requests were cancelled, want %d", got, clients)
				}
				t.Logf("in flight %v: took %v", inFlight, took)
			}))
		}
	}
}

// TestKillStoppedReading: the same for Kill, which waits for nobody.
func TestKillStoppedReading(t *testing.T) {
	server, client := tlsConfigs()
	synctest.Test(t, func(t *testing.T) { killStoppedReading(t, server, client) })
}

func killStoppedReading(t *testing.T, server, client *tls.Config) {
	srv := &http.Server{TLSConfig: server, ErrorLog: log.New(io.Discard, "", 0)}
	h := NewHTTP(context.Background(), srv, Hooks{})
	l := newPipes()
	h.Bind(l)
	done := make(chan error)
	go func() {
		done <- h.Serve(func(l net.Listener) error { return srv.ServeTLS(l, "", "") })
	}()
	for range 35 {
		if err := tls.Client(l.dial(), client).Handshake(); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	h.Kill()
	if took := time.Since(began); took > 3*alertTime {
		t.Errorf("took %v", took)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// A stayer is a connection whose client does not hang up. It reads as slowly as told.
type stayer struct {
	net.Conn
	pause time.Duration // after each read of 32 KiB at most
}

func (c stayer) Close() error { return nil }

func (c stayer) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b[:min(len(b), 32<<10)])
	time.Sleep(c.pause)
	return n, err
}

// stayed makes a request over HTTP/2, after which net/http tells the client to go and,
// a second later, closes the connection.
func stayed(t *testing.T, pause time.Duration, size int64) (*testServer, net.Conn) {
	server, client := tlsConfigs()
	server.NextProtos = []string{"h2"}
	s := start(t, &http.Server{TLSConfig: server, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, size))
	})})
	conn := s.dial()
	transport := &http.Transport{TLSClientConfig: client, ForceAttemptHTTP2: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return stayer{conn, pause}, nil }}
	t.Cleanup(transport.CloseIdleConnections)
	s.AnnounceClose()
	res, err := (&http.Client{Transport: transport}).Get("https://" + s.addr)
	if err != nil || res.ProtoMajor != 2 {
		t.Fatal(res, err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
		t.Errorf("%d of %d bytes have come: %v", n, size, err)
	}
	return s, conn
}

// TestSlowReaderInDelay: while the close is announced, and Shutdown has not begun, a
// client gets all of a response, however long net/http's close is past.
func TestSlowReaderInDelay(t *testing.T) {
	s, _ := stayed(t, 20*time.Millisecond, 3<<20) // 2 s at least
	s.stop()
}

// TestClosedTLSTwice: what net/http has closed, and we have kept open for the client to
// read, is closed when the stop is over.
func TestClosedTLSTwice(t *testing.T) {
	s, conn := stayed(t, 0, 1)
	if _, err := io.Copy(io.Discard, conn); err != nil { // until net/http has closed it
		t.Error(err)
	}
	s.stop()
	conn.SetDeadline(time.Time{}) // the client's package tls has set one
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, err := conn.Write([]byte("x")); err != nil {
			return
		}
	}
	t.Error("the connection is still open")
}
