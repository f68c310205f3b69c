// SPDX-License-Identifier: MIT

package drain_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/drain"
)

// A goodbye server has a handler that hijacks its connection and says goodbye when
// a function of RegisterOnShutdown tells it to. That panics when it is called twice.
type goodbye struct {
	t        *testing.T
	srv      *http.Server
	hijacked chan bool
	bye      chan struct{}
}

func newGoodbye(t *testing.T) *goodbye {
	g := &goodbye{t, new(http.Server), make(chan bool), make(chan struct{})}
	g.srv.RegisterOnShutdown(func() { close(g.bye) })
	g.srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		g.hijacked <- true
		select {
		case <-g.bye:
			io.WriteString(conn, "goodbye")
		case <-r.Context().Done():
			io.WriteString(conn, "cut off")
		}
	})
	return g
}

// connect returns a connection that was hijacked.
func (g *goodbye) connect(addr string) net.Conn {
	g.t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		g.t.Fatal(err)
	}
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-g.hijacked
	return conn
}

func (g *goodbye) wantGoodbye(conn net.Conn) {
	g.t.Helper()
	defer conn.Close()
	if got, err := io.ReadAll(conn); string(got) != "goodbye" || err != nil {
		g.t.Errorf("got %q, %v; want goodbye", got, err)
	}
}

// TestTwoListeners: whichever is stopped first, the server is stopped once, and
// both have to wait for what is in flight on either.
func TestTwoListeners(t *testing.T) {
	g := newGoodbye(t)
	var https []*drain.HTTP
	var conns []net.Conn
	var serving sync.WaitGroup
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h := drain.NewHTTP(context.Background(), g.srv, drain.Hooks{})
		h.Bind(l)
		https = append(https, h)
		serving.Go(func() {
			if err := h.Serve(g.srv.Serve); !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		})
		conns = append(conns, g.connect(l.Addr().String()))
	}
	if got := https[0].InFlight() + https[1].InFlight(); got != 2 {
		t.Errorf("%d requests in flight, want 2", got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var stops sync.WaitGroup
	for _, h := range https {
		stops.Go(func() {
			if err := h.Shutdown(ctx, errStop); err != nil {
				t.Error(err)
			}
			select {
			case <-g.bye:
			default:
				t.Error("Shutdown has returned before the functions of RegisterOnShutdown were called")
			}
		})
	}
	for _, conn := range conns {
		g.wantGoodbye(conn)
	}
	stops.Wait()
	serving.Wait()
}

// TestSharedHandler: a server that was given the Handler of another one, in which
// our hooks are, has hooks of its own. Either stops without the other, and a
// request counts where it came in.
func TestSharedHandler(t *testing.T) {
	entered, finish := make(chan bool), make(chan bool)
	first := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- true
		<-finish
	})}
	one := serve(t, first)
	two := serve(t, &http.Server{Handler: first.Handler})
	conn, err := net.Dial("tcp", two.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-entered
	if got := [2]int{one.h.InFlight(), two.h.InFlight()}; got != [2]int{0, 1} {
		t.Errorf("%v requests in flight, want one of the second server", got)
	}
	if err := one.stop(); err != nil {
		t.Error(err)
	}
	close(finish)
	if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
		t.Error(err)
	}
	if err := two.stop(); err != nil {
		t.Error(err)
	}
}

// TestTwoKindsOfListeners: the user's BaseContext gets the listener that was given to
// Bind, also where a copy of it serves, and idle connections of both end.
func TestTwoKindsOfListeners(t *testing.T) {
	config := tlsConfig(t)
	type key struct{}
	srv := &http.Server{
		BaseContext: func(l net.Listener) context.Context { return context.WithValue(context.Background(), key{}, l) },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%p", r.Context().Value(key{}))
		}),
	}
	var stops, serving sync.WaitGroup
	var https []*drain.HTTP
	for _, secure := range []bool{false, true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		dial := net.Dial
		if secure {
			l = tls.NewListener(l, config)
			dial = func(network, addr string) (net.Conn, error) {
				return tls.Dial(network, addr, &tls.Config{InsecureSkipVerify: true})
			}
		}
		h := drain.NewHTTP(context.Background(), srv, drain.Hooks{})
		h.Bind(l)
		https = append(https, h)
		serving.Go(func() { h.Serve(srv.Serve) })
		conn, err := dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(res.Body); string(got) != fmt.Sprintf("%p", l) || err != nil {
			t.Errorf("TLS %t: got %s, %v, want %p", secure, got, err, l)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, h := range https {
		stops.Go(func() {
			h.Expect(time.Second)
			if err := h.Shutdown(ctx, errStop); err != nil {
				t.Error(err)
			}
		})
	}
	stops.Wait()
	serving.Wait()
}

// A valueListener returns connections that cannot be compared.
type (
	valueListener struct{ net.Listener }
	valueConn     struct {
		*tls.Conn
		_ []byte
	}
)

func (l valueListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return valueConn{Conn: conn.(*tls.Conn)}, nil
}

// TestConnectionsThatCannotBeCompared: net/http keeps connections in a map, and so do
// we.
func TestConnectionsThatCannotBeCompared(t *testing.T) {
	l, err := tls.Listen("tcp", "127.0.0.1:0", tlsConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil {
			t.Error("TLS is not known to the handler")
		}
	})}
	srv.ConnState = func(conn net.Conn, state http.ConnState) {
		if _, ok := conn.(valueConn); !ok {
			t.Errorf("%v: ConnState gets a %T, want what the listener has returned", state, conn)
		}
	}
	h := drain.NewHTTP(context.Background(), srv, drain.Hooks{})
	h.Bind(valueListener{l})
	served := make(chan error)
	go func() { served <- h.Serve(srv.Serve) }()
	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := h.Shutdown(ctx, errStop); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// tlsConfig is a server's.
func tlsConfig(t *testing.T) *tls.Config {
	t.Helper()
	certs := httptest.NewUnstartedServer(nil)
	certs.StartTLS()
	defer certs.Close()
	return &tls.Config{Certificates: certs.TLS.Certificates}
}

// TestTwoListenersCutOff: one of them says what did not end, and the other waits.
func TestTwoListenersCutOff(t *testing.T) {
	t.Parallel()
	entered, release := make(chan bool), make(chan bool)
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- true
		<-release
	})}
	defer close(release)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var https []*drain.HTTP
	var addr string
	for range 2 {
		h, l := bind(t, srv)
		https = append(https, h)
		addr = l.Addr().String()
		go h.Serve(srv.Serve)
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-entered
	errs := make(chan error)
	for _, h := range https {
		go func() { errs <- h.Shutdown(ctx, errStop) }()
	}
	if err := errors.Join(<-errs, <-errs); err == nil || strings.Count(err.Error(), "GET /") != 1 {
		t.Errorf("got %v, want the request, once", err)
	}
}

// TestUsersShutdown: the user stops the server, too: before the drain, during it or
// after. The functions of RegisterOnShutdown are called once.
func TestUsersShutdown(t *testing.T) {
	for name, stop := range map[string]func(*http.Server) error{
		"Shutdown": func(srv *http.Server) error { return srv.Shutdown(context.Background()) },
		"Close":    (*http.Server).Close,
	} {
		for when, delay := range map[string]time.Duration{"first": -1, "at once": 0, "1 ms later": time.Millisecond, "10 ms later": 10 * time.Millisecond} {
			t.Run(name+" "+when, func(t *testing.T) {
				g := newGoodbye(t)
				s := serve(t, g.srv)
				conn := g.connect(s.addr)
				users := make(chan error, 1)
				if delay < 0 {
					users <- stop(g.srv)
				} else {
					go func() {
						time.Sleep(delay)
						users <- stop(g.srv)
					}()
				}
				drained := make(chan error)
				go func() { drained <- s.stop() }()
				g.wantGoodbye(conn)
				if err := errors.Join(<-drained, <-users); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestBindAfterStop: a listener that comes after the stop is closed.
func TestBindAfterStop(t *testing.T) {
	for name, stop := range map[string]func(*drain.HTTP) error{
		"Shutdown": func(h *drain.HTTP) error { return h.Shutdown(t.Context(), errStop) },
		"Kill":     func(h *drain.HTTP) error { h.Kill(); return nil },
	} {
		srv := new(http.Server)
		h := drain.NewHTTP(context.Background(), srv, drain.Hooks{})
		if err := stop(h); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h.Bind(l)
		if conn, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: Accept returns %v, %v, want that the listener is closed", name, conn, err)
		}
		if err := h.Serve(srv.Serve); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("%s: Serve returns %v", name, err)
		}
	}
}

// A scarce listener has no descriptor for its first connection at first.
type scarce struct {
	net.Listener
	began  <-chan struct{}
	failed bool
}

func (l *scarce) Accept() (net.Conn, error) {
	if !l.failed {
		<-l.began
		l.failed = true
		return nil, syscall.EMFILE
	}
	return l.Listener.Accept()
}

// TestForeignAcceptFails: an Accept that fails while the queue is emptied is not the
// end.
func TestForeignAcceptFails(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the queue is not known on " + runtime.GOOS)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	began := make(chan struct{})
	f := drain.NewForeign(&scarce{Listener: l, began: began})
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, served := make(chan net.Conn, 1), make(chan error)
	go func() {
		served <- f.Serve(func(l net.Listener) error {
			for {
				conn, err := l.Accept()
				if errors.Is(err, syscall.EMFILE) {
					continue
				}
				if err != nil {
					return err
				}
				accepted <- conn
			}
		})
	}()
	time.AfterFunc(20*time.Millisecond, func() { close(began) }) // the drain waits for the queue
	f.Drain(t.Context())
	select {
	case conn := <-accepted:
		conn.Close()
	default:
		t.Error("a connection was lost")
	}
	f.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// bind gives srv one more listener.
func bind(t *testing.T, srv *http.Server) (*drain.HTTP, net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := drain.NewHTTP(context.Background(), srv, drain.Hooks{})
	h.Bind(l)
	return h, l
}

// TestKillBeforeServe: the end of a listener that has not begun to serve is not that
// of another one of the same server.
func TestKillBeforeServe(t *testing.T) {
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })}
	var https []*drain.HTTP
	var addrs []string
	for range 2 {
		h, l := bind(t, srv)
		https, addrs = append(https, h), append(addrs, l.Addr().String())
	}
	served := make(chan error)
	go func() { served <- https[0].Serve(srv.Serve) }()
	get := func() {
		t.Helper()
		res, err := http.Get("http://" + addrs[0])
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	get()
	https[1].Kill()
	if conn, err := net.Dial("tcp", addrs[1]); err == nil {
		conn.Close()
		t.Error("the other listener is open")
	}
	get()
	https[0].Kill()
	<-served
	http.DefaultClient.CloseIdleConnections()
}

// TestCauseWithBaseContext: the contexts of requests have the cause of the stop also
// if they descend from the user's BaseContext, and the stop has no time.
func TestCauseWithBaseContext(t *testing.T) {
	for range 20 {
		const requests = 20
		entered, causes := make(chan bool, requests), make(chan error, requests)
		srv := &http.Server{
			BaseContext: func(net.Listener) context.Context { return context.Background() },
			Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				entered <- true
				<-r.Context().Done()
				causes <- context.Cause(r.Context())
			}),
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h := drain.NewHTTP(context.Background(), srv, drain.Hooks{})
		h.Bind(l)
		served := make(chan error)
		go func() { served <- h.Serve(srv.Serve) }()
		for range requests {
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			<-entered
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		h.Shutdown(ctx, errStop)
		<-served
		for range requests {
			if cause := <-causes; cause != errStop {
				t.Fatalf("cause %v, want %v", cause, errStop)
			}
		}
	}
}
