// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// A served is an App that serves, until the test stops it.
type served struct {
	t      *testing.T
	addr   string
	cancel context.CancelCauseFunc
	done   chan error
	report func() *shutdown.Report // waits for the stop

	goingAway <-chan struct{} // serveHTTP2's: closed when clients are sent GOAWAY
}

// longGrace is for tests of what must not last until the grace is over. They allow
// for half a minute: a machine may stall for seconds.
func longGrace() *pid1.App { return &pid1.App{Shutdown: shutdown.Pipeline{Grace: time.Hour}} }

const longWait = 30 * time.Second

// attempts is for tests with little time: one of five attempts must succeed, unless
// the machine stalls.
func attempts(t *testing.T, attempt func() error) {
	t.Helper()
	var errs []error
	stalled := stalls(t)
	for range 5 {
		err := attempt()
		if err == nil {
			return
		}
		errs = append(errs, err)
	}
	skipIfStalled(t, stalled(), errs...)
	t.Error(errors.Join(errs...))
}

// errStop is why the tests stop their Apps.
var errStop = errors.New("the test is over")

// serve runs srv, on a port of its own unless it has an address.
func serve(t *testing.T, app *pid1.App, srv *http.Server) *served {
	t.Helper()
	if srv.Addr == "" {
		srv.Addr = "127.0.0.1:0"
	}
	addr := make(chan net.Addr, 1)
	base := srv.BaseContext
	srv.BaseContext = func(l net.Listener) context.Context {
		addr <- l.Addr()
		if base == nil {
			return context.Background()
		}
		return base(l)
	}
	var server pid1.Server = srv
	if srv.TLSConfig != nil {
		server = pid1.TLS(srv, "", "")
	}
	s := run(t, app, server)
	select {
	case a := <-addr:
		s.addr = a.String()
	case err := <-s.done:
		t.Fatalf("not served: %v", err)
	}
	return s
}

func run(t *testing.T, app *pid1.App, srv pid1.Server) *served {
	s := &served{t: t, done: make(chan error, 1)}
	if app.Logger == nil {
		app.Logger = discard
	}
	reports := reportOf(app)
	s.report = sync.OnceValue(func() *shutdown.Report { return <-reports })
	ctx, cancel := context.WithCancelCause(context.Background())
	s.cancel = cancel
	go func() { s.done <- app.Run(ctx, srv) }()
	t.Cleanup(func() { cancel(errStop) })
	return s
}

// reportOf returns the channel that gets app's report. It is safe where OnReport is
// left behind, on a machine that stalls, and Run returns before it.
func reportOf(app *pid1.App) <-chan *shutdown.Report {
	reports := make(chan *shutdown.Report, 1)
	app.OnReport = func(r *shutdown.Report) { reports <- r }
	return reports
}

// stop stops the App and returns what Run did, and how long that took.
func (s *served) stop() (time.Duration, error) {
	s.t.Helper()
	began := time.Now()
	s.cancel(errStop)
	err := <-s.done
	return time.Since(began), err
}

// stopCleanly is stop that has to succeed.
func (s *served) stopCleanly() time.Duration {
	s.t.Helper()
	took, err := s.stop()
	if err != nil {
		s.t.Errorf("Run: %v", err)
	}
	return took
}

// refused waits until connections are refused: requests that have been accepted
// are then served on.
func (s *served) refused() {
	for {
		conn, err := net.Dial("tcp", s.addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			conn.Close()
		}
	}
}

// A wire is a connection on which a test speaks HTTP/1 by itself.
type wire struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute)) // against tests that hang
	return &wire{conn, t, bufio.NewReader(conn)}
}

func (w *wire) send(s string) {
	w.t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		w.t.Errorf("send %q: %v", s, err)
	}
}

// response reads a response and its body.
func (w *wire) response() (*http.Response, string) {
	w.t.Helper()
	res, err := http.ReadResponse(w.r, nil)
	if err != nil {
		w.t.Fatalf("no response: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Errorf("response %s with half a body %q: %v", res.Status, body, err)
	}
	return res, string(body)
}

// closed checks that the server has closed the connection and sent no more.
func (w *wire) closed() {
	w.t.Helper()
	rest, err := io.ReadAll(w.r)
	if len(rest) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		w.t.Errorf("got %q, %v; want the end of the connection", rest, err)
	}
}

// states returns a ConnState hook, and a channel of what it is told.
func states(of ...http.ConnState) (func(net.Conn, http.ConnState), <-chan http.ConnState) {
	c := make(chan http.ConnState, 10_000)
	return func(_ net.Conn, state http.ConnState) {
		if slices.Contains(of, state) {
			c <- state
		}
	}, c
}

// spread describes times by their median and their greatest.
func spread(took []time.Duration) string {
	took = slices.Sorted(slices.Values(took))
	return fmt.Sprintf("p50 %v, max %v", took[len(took)/2].Round(10*time.Microsecond), took[len(took)-1].Round(10*time.Microsecond))
}

// TestSilentConnection: one that never carried a request, for which Shutdown
// alone waits 5 s.
func TestSilentConnection(t *testing.T) {
	t.Parallel()
	attempts(t, func() error {
		hook, accepted := states(http.StateNew)
		s := serve(t, new(pid1.App), &http.Server{ConnState: hook})
		w := dial(t, s.addr)
		<-accepted
		took := s.stopCleanly()
		w.closed()
		if took > 2*time.Second {
			return fmt.Errorf("took %v", took)
		}
		return nil
	})
}

// TestHalfSentHeaders: a request that is not complete when the server hangs up
// is none, and no handler sees it. The client sees the end of the connection.
func TestHalfSentHeaders(t *testing.T) {
	t.Parallel()
	hook, accepted := states(http.StateNew)
	var handled atomic.Bool
	s := serve(t, longGrace(), &http.Server{ConnState: hook, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		handled.Store(true)
	})})
	w := dial(t, s.addr)
	w.send("GET / HTTP/1.1\r\nHost: a\r\nX-Half: ")
	<-accepted
	took := s.stopCleanly()
	w.closed()
	if handled.Load() || took > longWait {
		t.Errorf("handled %v, took %v", handled.Load(), took)
	}
	t.Logf("took %v", took)
}

// TestSlowLoris: clients that send their headers byte by byte for ever are cut
// off, and do not hold up the stop.
func TestSlowLoris(t *testing.T) {
	t.Parallel()
	const clients = 20
	hook, accepted := states(http.StateNew)
	s := serve(t, longGrace(), &http.Server{ConnState: hook})
	var all sync.WaitGroup
	for range clients {
		w := dial(t, s.addr)
		all.Go(func() {
			_, err := io.WriteString(w, "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
			for err == nil {
				_, err = io.WriteString(w, "x")
				time.Sleep(time.Millisecond)
			}
		})
	}
	for range clients {
		<-accepted
	}
	took := s.stopCleanly()
	all.Wait()
	if took > longWait {
		t.Errorf("took %v", took)
	}
	t.Logf("took %v", took)
}

// TestIdleConnections: thousands of kept connections are closed at once, with
// no reset for their clients.
func TestIdleConnections(t *testing.T) {
	n := nstest.Rounds(500, 2000, 2000)
	hook, idle := states(http.StateIdle)
	s := serve(t, longGrace(), &http.Server{ConnState: hook, Handler: answer("hello")})
	conns := make([]*wire, n)
	for i := range conns {
		conns[i] = dial(t, s.addr)
		conns[i].send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	for _, w := range conns {
		if res, body := w.response(); body != "hello" || res.Close {
			t.Fatalf("got %q, close %v", body, res.Close)
		}
	}
	for range conns {
		<-idle
	}
	took := s.stopCleanly()
	for _, w := range conns {
		if _, err := w.r.ReadByte(); err != io.EOF {
			t.Fatalf("the client sees %v, want EOF", err)
		}
	}
	if took > longWait {
		t.Errorf("took %v", took)
	}
	t.Logf("%d connections took %v", n, took)
}

// TestAcceptQueue: what clients have connected, and the server has not accepted
// when the stop begins, is served.
func TestAcceptQueue(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the queue cannot be emptied on " + runtime.GOOS)
	}
	const clients = 50
	accepted, accept := make(chan bool, 10_000), make(chan bool)
	s := serve(t, longGrace(), &http.Server{
		Handler: answer("hello"),
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			accepted <- true
			<-accept
			return ctx
		},
	})
	first := dial(t, s.addr)
	<-accepted // and Accept is not called again
	var queue []*wire
	for range clients {
		w := dial(t, s.addr)
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		queue = append(queue, w)
	}
	s.cancel(errStop)
	s.refused()
	close(accept)
	for _, w := range queue {
		if res, body := w.response(); body != "hello" {
			t.Fatalf("got %s, %q", res.Status, body)
		}
	}
	first.closed()
	if err := <-s.done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestClientResets: a client that resets in the middle ends its request's
// context, and the stop is clean.
func TestClientResets(t *testing.T) {
	entered, left := make(chan bool), make(chan error, 1)
	s := serve(t, new(pid1.App), &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-r.Context().Done()
		left <- r.Context().Err()
	})})
	w := dial(t, s.addr)
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-entered
	s.cancel(errStop)
	s.refused()
	w.Conn.(*net.TCPConn).SetLinger(0)
	w.Close()
	if err := <-left; err != context.Canceled {
		t.Errorf("the handler's context: %v", err)
	}
	if err := <-s.done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestExpectContinue: the client is asked for its body after the stop began.
func TestExpectContinue(t *testing.T) {
	entered, read := make(chan bool), make(chan bool)
	s := serve(t, new(pid1.App), &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-read
		io.Copy(w, r.Body)
	})})
	w := dial(t, s.addr)
	w.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	<-entered
	s.cancel(errStop)
	s.refused()
	close(read)
	if line, err := w.r.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q, %v; want 100 Continue", line, err)
	}
	w.r.ReadString('\n')
	w.send("hello")
	if res, body := w.response(); res.StatusCode != 200 || body != "hello" {
		t.Errorf("got %s, %q", res.Status, body)
	}
	w.closed()
	if err := <-s.done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestChunkedUpload: an upload in flight is read to its end.
func TestChunkedUpload(t *testing.T) {
	started := make(chan bool)
	s := serve(t, new(pid1.App), &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first := make([]byte, 1)
		io.ReadFull(r.Body, first)
		started <- true
		rest, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s%s %v", first, rest, err)
	})})
	w := dial(t, s.addr)
	w.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
	<-started
	s.cancel(errStop)
	s.refused()
	for range 100 {
		w.send("2\r\nbc\r\n")
	}
	w.send("0\r\n\r\n")
	if res, body := w.response(); body != "a"+strings.Repeat("bc", 100)+" <nil>" {
		t.Errorf("got %s, %q", res.Status, body)
	}
	if err := <-s.done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestServerSentEvents: a stream learns of the stop by Stopping, and ends with
// an event and a complete response.
func TestServerSentEvents(t *testing.T) {
	var app pid1.App
	s := serve(t, &app, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: hello\n\n")
		w.(http.Flusher).Flush()
		<-app.Stopping()
		io.WriteString(w, "event: bye\ndata:\n\n")
	})})
	w := dial(t, s.addr)
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	res, err := http.ReadResponse(w.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	events := bufio.NewReader(res.Body)
	if line, err := events.ReadString('\n'); line != "data: hello\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	took := s.stopCleanly()
	if rest, err := io.ReadAll(events); err != nil || !strings.HasSuffix(string(rest), "event: bye\ndata:\n\n") {
		t.Errorf("got %q, %v", rest, err)
	}
	t.Logf("took %v", took)
}

// TestHandlerNeverReturns: Run does, inside the grace, and names the request.
func TestHandlerNeverReturns(t *testing.T) {
	t.Parallel()
	attempts(t, func() error {
		const grace = 2 * time.Second
		entered, causes, release := make(chan bool), make(chan error, 1), make(chan bool)
		defer close(release)
		mux := http.NewServeMux()
		mux.HandleFunc("GET /stuck/{id}", func(w http.ResponseWriter, r *http.Request) {
			entered <- true
			<-r.Context().Done()
			causes <- context.Cause(r.Context())
			<-release
		})
		s := serve(t, &pid1.App{Shutdown: shutdown.Pipeline{Grace: grace}}, &http.Server{Handler: mux})
		w := dial(t, s.addr)
		w.send("GET /stuck/42?token=secret HTTP/1.1\r\nHost: a\r\n\r\n")
		<-entered
		stalled := stalls(t)
		took, err := s.stop()
		if cause := <-causes; cause != errStop {
			t.Errorf("cause of the request's context %v, want %v", cause, errStop)
		}
		w.closed()
		if pid1.ExitCode(err) != 124 || took >= grace+stalled() {
			return fmt.Errorf("exit code %d after %v, want 124 within %v; the machine has stalled for %v", pid1.ExitCode(err), took, grace, stalled())
		}
		if msg := fmt.Sprint(err); !strings.Contains(msg, "GET /stuck/{id} (") || strings.Contains(msg, "secret") {
			return fmt.Errorf("the error is %q; want the request with its pattern and age, without its query", msg)
		}
		return nil
	})
}

// TestHandlerReturnsWithContext: one that returns when its context ends can still
// say so.
func TestHandlerReturnsWithContext(t *testing.T) {
	t.Parallel()
	attempts(t, func() error {
		entered := make(chan bool)
		s := serve(t, &pid1.App{Shutdown: shutdown.Pipeline{Grace: time.Second}}, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- true
			<-r.Context().Done()
			http.Error(w, "stopping", http.StatusServiceUnavailable)
		})})
		w := dial(t, s.addr)
		w.send("GET /%6cong?token=secret HTTP/1.1\r\nHost: a\r\n\r\n")
		<-entered
		_, err := s.stop()
		if got, _ := io.ReadAll(w.r); !strings.HasPrefix(string(got), "HTTP/1.1 503 ") || !strings.HasSuffix(string(got), "\nstopping\n") {
			return fmt.Errorf("got %q; want 503", got)
		}
		if pid1.ExitCode(err) != 124 || !strings.Contains(fmt.Sprint(err), "GET /long (") {
			return fmt.Errorf("err %w", err)
		}
		return nil
	})
}

// TestManyRequestsCutOff: an error does not grow without bound.
func TestManyRequestsCutOff(t *testing.T) {
	t.Parallel()
	attempts(t, func() error {
		const clients = 30
		entered := make(chan bool)
		s := serve(t, &pid1.App{Shutdown: shutdown.Pipeline{Grace: time.Second}}, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- true
			<-r.Context().Done()
		})})
		for range clients {
			dial(t, s.addr).send("PUT / HTTP/1.1\r\nHost: a\r\n\r\n")
			<-entered
		}
		_, err := s.stop()
		if msg := fmt.Sprint(err); strings.Count(msg, "PUT /") != 10 || !strings.Contains(msg, "and 20 more") {
			return fmt.Errorf("got %q, want 10 requests and that there are 20 more", msg)
		}
		return nil
	})
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	entered, finish := make(chan bool), make(chan bool)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-finish
		io.WriteString(w, "hello")
	})}
	s := run(t, new(pid1.App), pid1.Listen(l, srv))
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w := &wire{conn, t, bufio.NewReader(conn)}
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-entered
	s.cancel(errStop)
	for err == nil {
		var late net.Conn
		if late, err = net.Dial("unix", path); err == nil {
			late.Close()
		}
	}
	close(finish)
	if _, body := w.response(); body != "hello" {
		t.Errorf("got %q", body)
	}
	if err := <-s.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if got, want := s.report().Steps[0].Name, "http unix:"+path; got != want {
		t.Errorf("step %q, want %q", got, want)
	}
}

// certificate returns a server's certificate and what a client needs to trust
// it.
func certificate() (tls.Certificate, *tls.Config) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s.TLS.Certificates[0], &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

// TestTLS: wherever the certificate comes from.
func TestTLS(t *testing.T) {
	t.Parallel()
	cert, client := certificate()
	get := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }
	configs := map[string]*tls.Config{
		"Certificates":       {Certificates: []tls.Certificate{cert}},
		"GetCertificate":     {GetCertificate: get},
		"GetConfigForClient": {GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return &tls.Config{GetCertificate: get}, nil }},
	}
	for name, config := range configs {
		t.Run(name, func(t *testing.T) {
			entered, finish := make(chan bool), make(chan bool)
			s := serve(t, new(pid1.App), &http.Server{TLSConfig: config, ErrorLog: silent, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				entered <- true
				<-finish
				io.WriteString(w, r.Proto)
			})})
			conn, err := tls.Dial("tcp", s.addr, client)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			w := &wire{conn, t, bufio.NewReader(conn)}
			w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			<-entered
			silent := dial(t, s.addr) // never shakes hands
			s.cancel(errStop)
			s.refused()
			close(finish)
			if _, body := w.response(); body != "HTTP/1.1" {
				t.Errorf("got %q, want HTTP/1.1", body)
			}
			silent.closed()
			if err := <-s.done; err != nil {
				t.Errorf("Run: %v", err)
			}
			if got, want := s.report().Steps[0].Name, "https "+s.addr; got != want {
				t.Errorf("step %q, want %q", got, want)
			}
		})
	}
}

// TestListenTLS: a listener that is no socket itself.
func TestListenTLS(t *testing.T) {
	cert, client := certificate()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	s := run(t, new(pid1.App), pid1.Listen(l, &http.Server{Handler: answer("hello")}))
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w := &wire{conn, t, bufio.NewReader(conn)}
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, body := w.response(); body != "hello" {
		t.Errorf("got %q", body)
	}
	s.stopCleanly()
	w.closed()
}

// A valueListener's connections cannot be the keys of a map.
type valueListener struct{ net.Listener }

type valueConn struct {
	net.Conn
	_ []int
}

func (l valueListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return valueConn{Conn: conn}, err
}

func TestConnectionOfOddType(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := run(t, new(pid1.App), pid1.Listen(valueListener{l}, &http.Server{Handler: answer("hello")}))
	w := dial(t, l.Addr().String())
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, body := w.response(); body != "hello" {
		t.Errorf("got %q", body)
	}
	s.stopCleanly()
}

// TestResponseWriterIsUnwrapped: all that net/http's has is there.
func TestResponseWriterIsUnwrapped(t *testing.T) {
	s := serve(t, new(pid1.App), &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, flusher := w.(http.Flusher)
		_, hijacker := w.(http.Hijacker)
		_, readerFrom := w.(io.ReaderFrom)
		control := http.NewResponseController(w)
		err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{}), control.EnableFullDuplex(), control.Flush())
		fmt.Fprintf(w, "%T %v %v %v %v", w, flusher, hijacker, readerFrom, err)
	})})
	w := dial(t, s.addr)
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, body := w.response(); body != "*http.response true true true <nil>" {
		t.Errorf("got %q", body)
	}
	s.stopCleanly()
}

// TestUserHooks: what a user has set on the server goes on working.
func TestUserHooks(t *testing.T) {
	var mu sync.Mutex
	var told []http.ConnState
	var listener net.Listener
	var errorLog bytes.Buffer
	shutdowns := make(chan bool, 10)
	srv := &http.Server{
		ErrorLog: log.New(&errorLog, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, state)
		},
		BaseContext: func(l net.Listener) context.Context {
			listener = l
			return context.Background()
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if _, ok := c.(*net.TCPConn); !ok {
				t.Errorf("ConnContext is told of a %T", c)
			}
			return ctx
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { panic("for the ErrorLog") }),
	}
	srv.RegisterOnShutdown(func() { shutdowns <- true })
	s := serve(t, new(pid1.App), srv)
	w := dial(t, s.addr)
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	w.closed()
	s.stopCleanly()
	if _, ok := listener.(*net.TCPListener); !ok {
		t.Errorf("BaseContext is told of a %T", listener)
	}
	if want := []http.ConnState{http.StateNew, http.StateActive, http.StateClosed}; !slices.Equal(told, want) {
		t.Errorf("ConnState is told %v, want %v", told, want)
	}
	if !strings.Contains(errorLog.String(), "for the ErrorLog") {
		t.Errorf("ErrorLog has %q", &errorLog)
	}
	wantOnce(t, shutdowns)
}

// wantOnce checks that a function of RegisterOnShutdown, which has a goroutine
// of its own, is called once.
func wantOnce(t *testing.T, calls <-chan bool) {
	t.Helper()
	<-calls
	select {
	case <-calls:
		t.Error("a function of RegisterOnShutdown is called twice")
	case <-time.After(100 * time.Millisecond):
	}
}

// TestContexts: a user's contexts reach the handler, with the cause of the stop.
func TestContexts(t *testing.T) {
	t.Parallel()
	type key string
	entered := make(chan context.Context)
	s := serve(t, &pid1.App{Shutdown: shutdown.Pipeline{Grace: 3 * time.Second}}, &http.Server{
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), key("base"), 1)
		},
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, key("conn"), 2)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- r.Context()
			<-r.Context().Done()
		}),
	})
	w := dial(t, s.addr)
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	ctx := <-entered
	s.stop()
	if b, c := ctx.Value(key("base")), ctx.Value(key("conn")); b != 1 || c != 2 {
		t.Errorf("the values are %v and %v", b, c)
	}
	if cause := context.Cause(ctx); cause != errStop {
		t.Errorf("cause %v, want %v", cause, errStop)
	}
}

// TestDefaultServeMux serves what a nil Handler means.
func TestDefaultServeMux(t *testing.T) {
	old := http.DefaultServeMux
	http.DefaultServeMux = http.NewServeMux()
	defer func() { http.DefaultServeMux = old }()
	http.HandleFunc("/pid1-test", answer("default"))
	s := serve(t, new(pid1.App), new(http.Server))
	w := dial(t, s.addr)
	w.send("GET /pid1-test HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, body := w.response(); body != "default" {
		t.Errorf("got %q", body)
	}
	if res, _ := w.response(); res.StatusCode != 200 {
		t.Errorf("OPTIONS *: %s", res.Status)
	}
	s.stopCleanly()
}

// TestUserStopsServer: a server whose user calls its Shutdown or Close ends the
// App cleanly, and the requests in flight as they say.
func TestUserStopsServer(t *testing.T) {
	t.Parallel()
	t.Run("Shutdown", func(t *testing.T) {
		entered, finish := make(chan bool), make(chan bool)
		shutdowns := make(chan bool, 10)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- true
			<-finish
			io.WriteString(w, "hello")
		})}
		srv.RegisterOnShutdown(func() { shutdowns <- true })
		var app pid1.App
		s := serve(t, &app, srv)
		w := dial(t, s.addr)
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		<-entered
		stopped := make(chan error)
		go func() { stopped <- srv.Shutdown(context.Background()) }()
		<-app.Stopping()
		close(finish)
		if _, body := w.response(); body != "hello" {
			t.Errorf("got %q", body)
		}
		if err := errors.Join(<-s.done, <-stopped); err != nil {
			t.Error(err)
		}
		wantOnce(t, shutdowns)
	})
	t.Run("Close", func(t *testing.T) {
		var srv http.Server
		s := serve(t, new(pid1.App), &srv)
		if err := errors.Join(srv.Close(), <-s.done); err != nil {
			t.Error(err)
		}
	})
}

// TestLastResponse measures from the last response to Run's return. The request
// outlasts the time in which connections are served on.
func TestLastResponse(t *testing.T) {
	t.Parallel()
	var took []time.Duration
	for range stops(t, 10) {
		entered, finish, hungUp := make(chan bool), make(chan bool), make(chan bool)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- true
			<-finish
			io.WriteString(w, "hello")
		})}
		srv.RegisterOnShutdown(func() { close(hungUp) })
		s := serve(t, new(pid1.App), srv)
		w := dial(t, s.addr)
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		<-entered
		s.cancel(errStop)
		<-hungUp
		close(finish)
		w.response()
		answered := time.Now()
		if err := <-s.done; err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(answered))
	}
	t.Logf("%d stops: %s", len(took), spread(took))
	if quickest := slices.Min(took); quickest > 50*time.Millisecond { // net/http's own poll takes up to 500 ms
		t.Errorf("%v from the last response to Run's return", quickest)
	}
}

// TestAddr: what ListenAndServe takes, we take.
func TestAddr(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:http-alt", "no such host.invalid:1", "127.0.0.1:no-such-port"} {
		srv := &http.Server{Addr: addr}
		app := pid1.App{Logger: discard}
		ctx, cancel := context.WithCancel(t.Context())
		srv.BaseContext = func(net.Listener) context.Context { cancel(); return context.Background() }
		err := app.Run(ctx, srv)
		cancel()
		l, want := net.Listen("tcp", addr)
		if want == nil {
			l.Close()
		}
		var ended *pid1.ServerError
		if (err == nil) != (want == nil) || err != nil && (!errors.As(err, &ended) || ended.Server != "http "+addr) {
			t.Errorf("%s: got %v, want %v", addr, err, want)
		}
	}
}

// TestNilListener: refused at the call, where the mistake is.
func TestNilListener(t *testing.T) {
	calls := map[string]func(){
		"Listen": func() { pid1.Listen(nil, new(http.Server)) },
		"GRPC":   func() { pid1.GRPC(nil, nil) },
	}
	for name, call := range calls {
		func() {
			defer func() {
				if p := fmt.Sprint(recover()); !strings.Contains(p, "pid1: "+name) {
					t.Errorf("%s: panic %v", name, p)
				}
			}()
			call()
		}()
	}
}
