// SPDX-License-Identifier: MIT

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
	"testing/synctest"
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
	return startOn(t, srv, l)
}

func startOn(t *testing.T, srv *http.Server, l net.Listener) *testServer {
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

// stop stops the server, with a minute to do so.
func (s *testServer) stop() (took time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
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

// sendRest sends the rest of a request as late as a slow client may, and waits for the
// response.
func sendRest(conn net.Conn, responses *bufio.Reader, rest string) error {
	time.Sleep(headerWait / 2)
	io.WriteString(conn, rest)
	_, err := http.ReadResponse(responses, nil)
	return err
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
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				s := startOn(t, &http.Server{Handler: nothing}, l)
				s.Expect(test.expect)
				conn := l.dial()
				defer conn.Close()
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
		})
	}
}

// TestExpectInParts: the next request that was waited for has headerWait from its first
// byte on, however long the stop takes by then.
func TestExpectInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		s := startOn(t, &http.Server{Handler: nothing}, l)
		s.Expect(2 * time.Second)
		conn := l.dial()
		defer conn.Close()
		const interval = headerWait * 6 / 5
		get(conn)
		time.Sleep(interval)
		get(conn)
		served := make(chan error)
		go func() {
			time.Sleep(interval)
			io.WriteString(conn, "GET / HTTP/1.1\r\n")
			served <- sendRest(conn, bufio.NewReader(conn), "Host: a\r\n\r\n")
		}()
		took := s.stop()
		if err := <-served; err != nil {
			t.Errorf("the request that came in parts was not served: %v; the stop took %v", err, took)
		}
	})
}

// TestHalfAHeader: a request that has begun has headerWait to be sent, and no more,
// even if a byte comes now and then. A client that says nothing has less.
func TestHalfAHeader(t *testing.T) {
	for _, test := range []struct {
		sent, then string
		served     bool
		least      time.Duration
		most       time.Duration
	}{
		{"", "", false, 0, 2 * drainWindow},
		{"GET / HTTP/1.1\r\nHost: a\r\n", "", false, headerWait, headerWait + 3*drainWindow},
		{"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", "x", false, headerWait, headerWait + 3*drainWindow},
		{"GET / HTTP/1.1\r\nHost: a\r\n", "\r\n", true, 0, headerWait},
	} {
		t.Run(fmt.Sprintf("%q %q", test.sent, test.then), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				s := startOn(t, &http.Server{Handler: nothing}, l)
				conn := l.dial()
				defer conn.Close()
				io.WriteString(conn, test.sent)
				var sending sync.WaitGroup
				if test.then != "" {
					sending.Go(func() {
						for err := error(nil); err == nil; { // until it is cut off
							time.Sleep(drainWindow * 3 / 2)
							_, err = io.WriteString(conn, test.then)
						}
					})
				}
				response := make(chan bool)
				go func() {
					_, err := http.ReadResponse(bufio.NewReader(conn), nil)
					response <- err == nil
				}()
				took := s.stop()
				sending.Wait()
				if served := <-response; served != test.served || took < test.least || took > test.most {
					t.Errorf("served %t, took %v; want %t, %v to %v", served, took, test.served, test.least, test.most)
				}
			})
		})
	}
}

// TestPipelinedTLS: the first part of a request comes before the response to the last
// one: in the record with the end of that, in a record of its own that was read with
// it, or while its handler runs. The rest has headerWait. Nothing is waited for if
// there is no first part.
func TestPipelinedTLS(t *testing.T) {
	server, client := tlsConfigs()
	for _, last := range []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"} {
		for _, first := range []int{0, 1, 3, 4, 20} {
			for _, when := range []string{"in the record", "in the segment", "while the handler runs"} {
				if when == "in the record" && (first == 1 || first == 3) {
					continue // only net/http knows
				}
				if when == "in the segment" && first == 0 {
					continue // there is nothing to send
				}
				t.Run(fmt.Sprint(last[:4], " ", first, " bytes ", when), bubble(func(t *testing.T) {
					testPipelinedTLS(t, server.Clone(), client, last, first, when)
				}))
			}
		}
	}
}

func testPipelinedTLS(t *testing.T, server, client *tls.Config, last string, first int, when string) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	entered, finish := make(chan bool, 2), make(chan bool)
	l := newPipes()
	s := startOn(t, &http.Server{TLSConfig: server, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // what comes next is read in the background
		entered <- true
		<-finish
	})}, l)
	segments := &segments{Conn: l.dial()}
	conn := tls.Client(segments, client)
	defer conn.Close()
	conn.Handshake()

	// A write returns when the server has read it.
	switch when {
	case "in the record":
		io.WriteString(conn, last+get[:first])
	case "in the segment":
		segments.hold = true
		io.WriteString(conn, last)
		segments.hold = false
		io.WriteString(conn, get[:first])
	default:
		io.WriteString(conn, last)
		<-entered
		io.WriteString(conn, get[:first])
	}
	close(finish)
	responses := bufio.NewReader(conn)
	response := func() error {
		r, err := http.ReadResponse(responses, nil)
		if err == nil && r.StatusCode != 200 {
			err = errors.New(r.Status)
		}
		return err
	}
	if err := response(); err != nil {
		t.Fatal(err)
	}

	var rest sync.WaitGroup
	defer rest.Wait()
	if first > 0 {
		rest.Go(func() {
			time.Sleep(headerWait / 2)
			io.WriteString(conn, get[first:])
		})
	}
	rest.Go(func() {
		if err := response(); err != nil && first > 0 {
			t.Errorf("lost: %v", err)
		}
		io.Copy(io.Discard, responses)
	})
	if took := s.stop(); took >= headerWait {
		t.Errorf("took %v, want less than %v", took, headerWait)
	}
}

// A segments sends what is written while it holds with what is written next.
type segments struct {
	net.Conn
	hold bool
	held []byte
}

func (s *segments) Write(b []byte) (int, error) {
	s.held = append(s.held, b...)
	if s.hold {
		return len(b), nil
	}
	_, err := s.Conn.Write(s.held)
	s.held = nil
	return len(b), err
}

// TestStalledClient: while net/http, after the handler, waits for the rest of a body or
// for a client to read, the functions of RegisterOnShutdown are called, which tell other
// clients. The request is answered in the end, and so is the one behind it.
func TestStalledClient(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for name, request := range map[string][2]string{
		"body":     {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe", "llo"},
		"response": {get, ""},
	} {
		t.Run(name, bubble(func(t *testing.T) {
			told := make(chan time.Time, 2)
			srv := &http.Server{Handler: nothing}
			srv.RegisterOnShutdown(func() { told <- time.Now() })
			l := newPipes()
			s := startOn(t, srv, l)
			conn := l.dial()
			defer conn.Close()
			io.WriteString(conn, request[0])
			synctest.Wait() // until the handler has returned
			began := time.Now()
			var client sync.WaitGroup
			client.Go(func() {
				if took := (<-told).Sub(began); took > headerWait+3*drainWindow {
					t.Errorf("told after %v, want about %v", took, headerWait)
				}
				go io.WriteString(conn, request[1]+get)
				responses := bufio.NewReader(conn)
				for range 2 {
					if _, err := http.ReadResponse(responses, nil); err != nil {
						t.Error(err)
					}
				}
			})
			s.stop()
			client.Wait()
			if len(told) > 0 {
				t.Error("told twice")
			}
		}))
	}
}

// TestNewTLS: connections that were accepted before the listener closed are
// served, also if the processor is so busy that handshakes take seconds.
func TestNewTLS(t *testing.T) {
	n := 50
	if testing.Short() {
		n = 10
	}
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
