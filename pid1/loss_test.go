// SPDX-License-Identifier: MIT

package pid1_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
)

// stops is how many stops the tests of lost requests make: n, some with -short or on a
// busy machine, where each takes long, or what $PID1_TEST_STOPS says. The figures in
// the documentation are from 200.
func stops(t testing.TB, n int) int {
	if n = nstest.Rounds(3, n, n); nstest.Busy() {
		n = min(n, 3)
	}
	if s := os.Getenv("PID1_TEST_STOPS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("$PID1_TEST_STOPS: %v", err)
		}
	}
	return n
}

// tooLate is how long after its last request a client comes too late with the next.
// It pauses for less than a millisecond, and a server that no signal stops serves
// idle connections on for a second at most, by the clock.
const tooLate = time.Second

// tally counts requests, and those without the right answer: lost, or from a client
// that the machine has starved.
type tally struct{ sent, lost, late atomic.Int64 }

func (c *tally) String() string {
	return fmt.Sprintf("%d of %d lost, %d too late", c.lost.Load(), c.sent.Load(), c.late.Load())
}

// A fleet is 20 keep-alive clients of two servers. They take the second one when
// the first one refuses a connection, and repeat nothing themselves. (Go's own
// client repeats a GET that failed on a connection used before.)
type fleet struct {
	first, second string // addresses
	tls           *tls.Config
	gets, posts   tally
	moved         sync.WaitGroup // every client has been served by the second
	errors        sync.Map
}

// oneWay hides the type of a body, so that the client cannot send it twice.
type oneWay struct{ io.Reader }

func (f *fleet) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, f.first)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return new(net.Dialer).DialContext(ctx, network, f.second)
	}
	return conn, err
}

// run makes requests until quit is closed, GETs and POSTs in turn. With HTTP/2
// all clients share a connection.
func (f *fleet) run(quit <-chan struct{}) (wait func()) {
	const clients = 20
	var all sync.WaitGroup
	var transports []*http.Transport
	newClient := func() *http.Client {
		tr := &http.Transport{DialContext: f.dial, TLSClientConfig: f.tls.Clone(), ForceAttemptHTTP2: f.tls != nil}
		transports = append(transports, tr)
		return &http.Client{Transport: tr}
	}
	f.moved.Add(clients)
	shared := newClient()
	if f.tls != nil {
		f.request(shared, 0, time.Now()) // else each opens one
	}
	for i := range clients {
		client := shared
		if f.tls == nil {
			client = newClient()
		}
		all.Go(func() {
			moved := sync.OnceFunc(f.moved.Done)
			last := time.Now()
			for n := i; ; n++ {
				select {
				case <-quit:
					return
				default:
				}
				if f.request(client, n, last) == "second" {
					moved()
				}
				last = time.Now()
				time.Sleep(200 * time.Microsecond)
			}
		})
	}
	return func() {
		all.Wait()
		for _, tr := range transports {
			tr.CloseIdleConnections()
		}
	}
}

// request makes the nth request and returns which server answered. The client's last
// one ended at last.
func (f *fleet) request(client *http.Client, n int, last time.Time) string {
	method, count, body := "GET", &f.gets, io.Reader(nil)
	if n%2 == 1 {
		method, count, body = "POST", &f.posts, oneWay{strings.NewReader("hello")}
	}
	url := "http://example.com/"
	if f.tls != nil {
		url = "https://example.com/"
	}
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		panic(err)
	}
	count.sent.Add(1)
	res, err := client.Do(req)
	if err == nil {
		var answer []byte
		answer, err = io.ReadAll(res.Body)
		res.Body.Close()
		if err == nil && res.StatusCode == 200 {
			return string(answer)
		}
	}
	if time.Since(last) > tooLate {
		count.late.Add(1)
		return ""
	}
	count.lost.Add(1)
	f.errors.Store(fmt.Sprint(method, " ", err), true)
	return ""
}

// silent is for what a server says of clients that leave in the middle.
var silent = log.New(io.Discard, "", 0)

// answer is a handler that says who it is, after what a database may take.
func answer(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		time.Sleep(500 * time.Microsecond)
		io.WriteString(w, name)
	}
}

// loss stops a server n times under a fleet. serve runs the server until ctx ends
// and then stops it.
func loss(t *testing.T, n int, f *fleet, serve func(ctx context.Context, srv *http.Server) error) (took []time.Duration) {
	second := httptest.NewUnstartedServer(answer("second"))
	first := func() *http.Server { return &http.Server{Addr: "127.0.0.1:0", Handler: answer("first")} }
	if f.tls != nil {
		second.EnableHTTP2 = true
		second.Config.ErrorLog = silent
		second.StartTLS()
		first = func() *http.Server {
			config := &tls.Config{Certificates: second.TLS.Certificates}
			return &http.Server{Addr: "127.0.0.1:0", Handler: answer("first"), TLSConfig: config, ErrorLog: silent}
		}
	} else {
		second.Start()
	}
	defer second.Close()
	f.second = second.Listener.Addr().String()

	for range n {
		ctx, cancel := context.WithCancel(t.Context())
		addr := make(chan net.Addr, 1)
		srv := first()
		srv.BaseContext = tell(addr)
		done := make(chan error)
		go func() { done <- serve(ctx, srv) }()
		f.first = (<-addr).String()

		quit := make(chan struct{})
		wait := f.run(quit)
		time.Sleep(30 * time.Millisecond) // of load
		began := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		took = append(took, time.Since(began))
		f.moved.Wait()
		close(quit)
		wait()
	}
	return took
}

// drained runs srv as an App does.
func drained(ctx context.Context, srv *http.Server) error {
	app := pid1.App{Logger: discard}
	if srv.TLSConfig != nil {
		return app.Run(ctx, pid1.TLS(srv, "", ""))
	}
	return app.Run(ctx, srv)
}

// plain runs srv as net/http's documentation has it.
func plain(ctx context.Context, srv *http.Server) error {
	stopped := make(chan error)
	go func() {
		<-ctx.Done()
		stopped <- srv.Shutdown(context.WithoutCancel(ctx))
	}()
	var err error
	if srv.TLSConfig != nil {
		err = srv.ListenAndServeTLS("", "")
	} else {
		err = srv.ListenAndServe()
	}
	if err != http.ErrServerClosed {
		return err
	}
	return <-stopped
}

// TestNoRequestLost compares with plain Shutdown.
func TestNoRequestLost(t *testing.T) {
	n := stops(t, 10)
	var ours, theirs fleet
	tookOurs := loss(t, n, &ours, drained)
	tookTheirs := loss(t, min(n, 100), &theirs, plain)
	t.Logf("drain, %d stops: POST %v, GET %v; took %v", n, &ours.posts, &ours.gets, spread(tookOurs))
	t.Logf("Shutdown, %d stops: POST %v, GET %v; took %v", min(n, 100), &theirs.posts, &theirs.gets, spread(tookTheirs))
	if lost := ours.posts.lost.Load(); lost > 0 {
		t.Errorf("%d POSTs lost", lost)
	}
	if lost, sent := ours.gets.lost.Load(), ours.gets.sent.Load(); lost > 1+sent/50_000 {
		t.Errorf("%d of %d GETs lost, want at most 1 in 50,000", lost, sent)
	}
	ours.errors.Range(func(k, _ any) bool { t.Log(k); return true })
}

// TestNoRequestLostWrapped: behind a listener that wraps another, whose
// connections are no sockets to the eye.
func TestNoRequestLostWrapped(t *testing.T) {
	slow(t)
	for name, wrap := range map[string]func(net.Listener) net.Listener{
		"wrapped": func(l net.Listener) net.Listener { return wrapping{l} },
		"opaque":  func(l net.Listener) net.Listener { return opaque{l} },
	} {
		t.Run(name, func(t *testing.T) {
			n := stops(t, 10)
			var ours fleet
			took := loss(t, n, &ours, func(ctx context.Context, srv *http.Server) error {
				l, err := net.Listen("tcp", srv.Addr)
				if err != nil {
					return err
				}
				app := pid1.App{Logger: discard}
				return app.Run(ctx, pid1.Listen(wrap(l), srv))
			})
			t.Logf("%d stops: POST %v, GET %v; took %v", n, &ours.posts, &ours.gets, spread(took))
			allowed := n / 10
			if nstest.Busy() {
				allowed = max(1, allowed) // of three stops
			}
			if lost := ours.posts.lost.Load(); lost > int64(allowed) {
				t.Errorf("%d POSTs lost", lost)
			}
			ours.errors.Range(func(k, _ any) bool { t.Log(k); return true })
		})
	}
}
