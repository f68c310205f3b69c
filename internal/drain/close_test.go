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
