package drain

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A testServer under test, with a listener of its own.
type testServer struct {
	*HTTP
	t    *testing.T
	addr string
	done chan error
}

func start(t *testing.T, srv *http.Server) *testServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{NewHTTP(context.Background(), srv, Hooks{}), t, l.Addr().String(), make(chan error, 1)}
	s.Bind(l)
	go func() {
		s.done <- s.Serve(func(l net.Listener) error {
			if srv.TLSConfig != nil {
				return srv.ServeTLS(l, "", "")
			}
			return srv.Serve(l)
		})
	}()
	return s
}

func (s *testServer) dial() net.Conn {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// stop stops the server, with 10 s to do so.
func (s *testServer) stop() (took time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	began := time.Now()
	if err := s.Shutdown(ctx, context.Canceled); err != nil {
		s.t.Error(err)
	}
	took = time.Since(began)
	if err := <-s.done; !errors.Is(err, http.ErrServerClosed) {
		s.t.Error(err)
	}
	return took
}

// get makes a request, and reports whether it was served.
func get(conn net.Conn) bool {
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	return err == nil && res.StatusCode == 200
}

// TestExpect: connections that have carried requests at intervals are served on
// until the next one is overdue. Others are not.
func TestExpect(t *testing.T) {
	const interval = 300 * time.Millisecond
	for _, test := range []struct {
		name     string
		expect   time.Duration
		requests int           // before the stop
		idle     time.Duration // since the last of them
		served   bool
	}{
		{"due", 2 * time.Second, 3, 0, true},
		{"not asked to", 0, 3, 0, false},
		{"one request", 2 * time.Second, 1, 0, false},
		{"overdue", 2 * time.Second, 3, 3 * interval, false},
		{"due too late", interval / 10, 3, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, &http.Server{Handler: nothing})
			s.Expect(test.expect)
			conn := s.dial()
			for n := range test.requests {
				if n > 0 {
					time.Sleep(interval)
				}
				if !get(conn) {
					t.Fatal("not served")
				}
			}
			time.Sleep(test.idle)
			served := make(chan bool)
			go func() {
				time.Sleep(interval)
				served <- get(conn)
			}()
			took := s.stop()
			if got := <-served; got != test.served {
				t.Errorf("the next request was served: %v, want %v; the stop took %v", got, test.served, took)
			}
		})
	}
}

// TestNewTLS: connections that were accepted before the listener closed are
// served, also if the processor is so busy that handshakes take seconds.
func TestNewTLS(t *testing.T) {
	const n = 50
	config, client := tlsConfigs()
	s := start(t, &http.Server{Handler: nothing, TLSConfig: config, ErrorLog: log.New(io.Discard, "", 0)})
	var busy atomic.Bool
	busy.Store(true)
	for range 2 * runtime.GOMAXPROCS(0) {
		go func() {
			for busy.Load() {
			}
		}()
	}
	defer busy.Store(false)
	var lost atomic.Int64
	var all sync.WaitGroup
	for range n {
		conn := s.dial()
		all.Go(func() {
			if !get(tls.Client(conn, client)) {
				lost.Add(1)
			}
		})
	}
	took := s.stop()
	all.Wait()
	if lost := lost.Load(); lost > 0 {
		t.Errorf("%d of %d connections lost", lost, n)
	}
	t.Logf("took %v", took)
}

// TestSilentNoise: connections that never spoke are no errors to log.
func TestSilentNoise(t *testing.T) {
	var mu sync.Mutex
	var lines strings.Builder
	config, _ := tlsConfigs()
	logger := log.New(writer(func(b []byte) {
		mu.Lock()
		defer mu.Unlock()
		lines.Write(b)
	}), "prefix: ", log.Lmsgprefix)
	s := start(t, &http.Server{Handler: nothing, TLSConfig: config, ErrorLog: logger})
	bad := s.dial()
	fmt.Fprint(bad, "no handshake\r\n")
	io.Copy(io.Discard, bad) // until it was refused
	accepted := s.conns.open.Load
	for range 3 {
		s.dial()
	}
	for accepted() < 3 {
		time.Sleep(time.Millisecond)
	}
	s.stop()
	mu.Lock()
	defer mu.Unlock()
	if got := lines.String(); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "prefix: http: TLS handshake error") {
		t.Errorf("the log has %q, want one line of an error", got)
	}
}

type writer func(b []byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }
