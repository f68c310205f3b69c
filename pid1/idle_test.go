// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
)

// used is a connection that has carried one request, and is idle.
func used(t *testing.T, addr string) *wire {
	t.Helper()
	w := dial(t, addr)
	w.use()
	return w
}

// use makes a request.
func (w *wire) use() {
	w.t.Helper()
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, body := w.response(); body != "hello" {
		w.t.Fatalf("got %q", body)
	}
}

// secure makes w a connection with TLS: what is sent at once is a record.
func (w *wire) secure(config *tls.Config) {
	w.t.Helper()
	conn := tls.Client(w.Conn, config)
	if err := conn.Handshake(); err != nil {
		w.t.Fatal(err)
	}
	w.Conn, w.r = conn, bufio.NewReader(conn)
}

// wantServed checks that a request is served and the last one.
func (w *wire) wantServed() {
	w.t.Helper()
	res, err := http.ReadResponse(w.r, nil)
	if err != nil {
		w.t.Errorf("request lost: %v", err)
		return
	}
	if body, err := io.ReadAll(res.Body); string(body) != "hello" || err != nil || !res.Close {
		w.t.Errorf("got %q, %v, close %v", body, err, res.Close)
	}
}

// plainAnswer answers at once.
func plainAnswer(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }

// gap is between the segments of a header: longer than connections are served on
// that are idle.
const gap = 150 * time.Millisecond

// segments are requests of which the first part is there when the stop begins.
var segments = map[string][2]string{
	"header":     {"GET / HTTP/1.1\r\nHo", "st: a\r\n\r\n"},
	"first byte": {"G", "ET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	"body":       {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n", "\r\nhello"},
}

// TestRequestInSegments: a request of which the server has read a part when the
// stop begins is served, on a connection that looks idle to net/http.
func TestRequestInSegments(t *testing.T) {
	cert, client := certificate()
	for name, parts := range segments {
		for _, state := range []string{"idle", "new", "idle, TLS", "new, TLS"} {
			t.Run(name+", "+state, func(t *testing.T) {
				t.Parallel()
				srv := &http.Server{Handler: http.HandlerFunc(plainAnswer), ErrorLog: silent}
				state, _, secure := strings.Cut(state, ", ")
				if secure {
					srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
				}
				s := serve(t, new(pid1.App), srv)
				w := dial(t, s.addr)
				if secure {
					w.secure(client)
				}
				if state == "idle" {
					w.use()
				}
				began := time.Now()
				w.send(parts[0])
				s.cancel(errStop)
				s.refused()
				time.Sleep(gap)                            // what the client's network takes
				skipIfLate(t, began, 900*time.Millisecond) // a header has a second
				w.send(parts[1])
				w.wantServed()
				if err := <-s.done; err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestPipelinedInSegments: the first part of the next request comes before the
// response to the last: net/http's background read takes a byte of it, or its
// buffer has it.
func TestPipelinedInSegments(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	cert, client := certificate()
	for _, first := range []int{1, 3, 4, 20} {
		for _, with := range []string{"the request", "the request, h2c", "the response", "the response, TLS"} {
			t.Run(fmt.Sprint(first, " bytes with ", with), func(t *testing.T) {
				t.Parallel()
				entered, finish := make(chan bool, 2), make(chan bool)
				srv := &http.Server{ErrorLog: silent, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					entered <- true
					<-finish
					plainAnswer(w, r)
				})}
				with, kind, _ := strings.Cut(with, ", ")
				secure := kind == "TLS"
				if secure {
					srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
				}
				if kind == "h2c" { // net/http looks for its preface
					srv.Protocols = new(http.Protocols)
					srv.Protocols.SetHTTP1(true)
					srv.Protocols.SetUnencryptedHTTP2(true)
				}
				s := serve(t, new(pid1.App), srv)
				w := dial(t, s.addr)
				if secure {
					w.secure(client)
				}
				if with == "the request" {
					w.send(get + get[:first])
					<-entered
				} else {
					w.send(get)
					<-entered
					w.send(get[:first])
				}
				finish <- true
				w.response()
				began := time.Now()
				s.cancel(errStop)
				s.refused()
				close(finish)
				time.Sleep(gap)
				skipIfLate(t, began, 900*time.Millisecond) // a header has a second
				w.send(get[first:])
				w.wantServed()
				if err := <-s.done; err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestSlowConnState: a user's hook that takes its time makes a connection no less
// busy.
func TestSlowConnState(t *testing.T) {
	t.Parallel()
	s := serve(t, new(pid1.App), &http.Server{
		Handler: http.HandlerFunc(plainAnswer),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateActive {
				time.Sleep(gap)
			}
		},
	})
	const clients = 20
	var conns []*wire
	for range clients {
		conns = append(conns, dial(t, s.addr))
	}
	var all sync.WaitGroup
	for _, w := range conns {
		all.Go(func() {
			w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			w.response()
		})
	}
	all.Wait()
	began := time.Now()
	s.cancel(errStop)
	for i, w := range conns {
		time.Sleep(time.Duration(i%3) * time.Millisecond)
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	skipIfLate(t, began, 80*time.Millisecond) // idle connections have 100 ms
	for _, w := range conns {
		if _, body := w.response(); body != "hello" {
			t.Errorf("got %q", body)
		}
	}
	if err := <-s.done; err != nil {
		t.Error(err)
	}
}

// TestStarved: many clients of a server that gets little processor time.
// What a handler has run for arrives, and what the client has sent before the
// server hung up is served.
func TestStarved(t *testing.T) {
	slow(t)
	n := nstest.Rounds(100, 300, 500)
	var handled atomic.Int64
	s := serve(t, new(pid1.App), &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			handled.Add(1)
		}
		plainAnswer(w, r)
	})})
	var conns []*wire
	for range n {
		conns = append(conns, used(t, s.addr))
	}

	var busy atomic.Bool
	busy.Store(true)
	for range 4 * runtime.GOMAXPROCS(0) {
		go func() {
			for busy.Load() {
			}
		}()
	}
	defer busy.Store(false)
	s.cancel(errStop)
	var answered, lost atomic.Int64
	var all sync.WaitGroup
	for _, w := range conns {
		all.Go(func() {
			time.Sleep(rand.N(40 * time.Millisecond))
			if _, err := io.WriteString(w, "GET /late HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				return
			}
			if _, err := http.ReadResponse(w.r, nil); err != nil {
				lost.Add(1)
			} else {
				answered.Add(1)
			}
		})
	}
	all.Wait()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	t.Logf("%d handled, %d answered, %d sent as the server hung up", handled.Load(), answered.Load(), lost.Load())
	if cut := handled.Load() - answered.Load(); cut != 0 {
		t.Errorf("%d responses lost of handlers that ran", cut)
	}
}
