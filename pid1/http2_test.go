// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// protocols are how the HTTP/2 tests speak it: with TLS and without.
var protocols = []string{"h2", "h2c"}

// serveHTTP2 serves handler and returns a client for it, which has made a request
// to /first and so has a connection.
func serveHTTP2(t *testing.T, app *pid1.App, protocol string, handler http.HandlerFunc) (*served, *http.Client, string) {
	t.Helper()
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("the request is %s", r.Proto)
		}
		if r.URL.Path == "/first" {
			return
		}
		handler(w, r)
	})}
	transport := new(http.Transport)
	scheme := "http"
	if protocol == "h2" {
		cert, client := certificate()
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
		transport.TLSClientConfig = client
		transport.ForceAttemptHTTP2 = true
		scheme = "https"
	} else {
		var h2c http.Protocols
		h2c.SetUnencryptedHTTP2(true)
		srv.Protocols = &h2c
		transport.Protocols = &h2c
	}
	t.Cleanup(transport.CloseIdleConnections)
	goingAway := make(chan struct{})
	srv.RegisterOnShutdown(func() { close(goingAway) })
	s := serve(t, app, srv)
	s.goingAway = goingAway
	client := &http.Client{Transport: transport}
	url := scheme + "://" + s.addr
	get(t, client, url+"/first")
	return s, client, url
}

func get(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// getAll makes n requests in parallel, each of which the handler reports on
// entered, and checks the length of the answers.
func getAll(t *testing.T, client *http.Client, url string, n, size int, entered <-chan bool) *sync.WaitGroup {
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if got := len(get(t, client, url)); got != size {
				t.Errorf("got %d bytes, want %d", got, size)
			}
		})
		<-entered
	}
	return &all
}

// TestHTTP2Idle: an idle connection, which holds up Shutdown for 1 s.
func TestHTTP2Idle(t *testing.T) {
	t.Parallel()
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			attempts(t, func() error {
				s, _, _ := serveHTTP2(t, new(pid1.App), protocol, nil)
				if took := s.stopCleanly(); took > 700*time.Millisecond {
					return fmt.Errorf("took %v", took)
				}
				return nil
			})
		})
	}
}

// TestHTTP2InFlight: what has reached a handler gets its response, whole, also
// if that is longer than what net/http and the kernel keep for the client.
func TestHTTP2InFlight(t *testing.T) {
	t.Parallel()
	const streams, size = 20, 1 << 20
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			entered, finish := make(chan bool), make(chan bool)
			s, client, url := serveHTTP2(t, longGrace(), protocol, func(w http.ResponseWriter, r *http.Request) {
				entered <- true
				<-finish
				w.Write(bytes.Repeat([]byte("x"), size))
			})
			all := getAll(t, client, url, streams, size, entered)
			s.cancel(errStop)
			s.refused()
			<-s.goingAway
			close(finish)
			all.Wait()
			if err := <-s.done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

// A slowConn is that of a client that is slow to read while slow is set.
type slowConn struct {
	net.Conn
	slow *atomic.Bool
}

func (c slowConn) Read(b []byte) (int, error) {
	if c.slow.Load() {
		time.Sleep(50 * time.Millisecond)
	}
	return c.Conn.Read(b)
}

// TestHTTP2SlowClient: a client's machine has all of its responses, and the client
// has yet to read them. If the connection were closed now, the next frame that
// the client sends would fail, and it would drop what it has not read.
func TestHTTP2SlowClient(t *testing.T) {
	t.Parallel()
	const streams, size = 8, 6 << 10 // less than a client's machine keeps for it
	entered, finish := make(chan bool), make(chan bool)
	s, client, url := serveHTTP2(t, longGrace(), "h2c", func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-finish
		w.Write(bytes.Repeat([]byte("x"), size))
	})
	var slow atomic.Bool
	client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		return slowConn{c, &slow}, err
	}
	client.CloseIdleConnections() // the first has the usual dialer

	all := getAll(t, client, url, streams, size, entered)
	s.cancel(errStop)
	s.refused()
	<-s.goingAway
	slow.Store(true)
	close(finish)
	all.Wait()
	if err := <-s.done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// A wrapping listener is like netutil.LimitListener: its connections are no
// sockets to the eye.
type wrapping struct{ net.Listener }

type wrappedConn struct {
	net.Conn
}

func (l wrapping) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wrappedConn{Conn: conn}, nil
}

// An opaqueConn has a socket inside that nobody finds.
type opaqueConn struct{ hidden }

type hidden interface{ net.Conn }

type opaque struct{ net.Listener }

func (l opaque) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return opaqueConn{conn}, err
}

// A throttle is the connection of a client with a thin line.
type throttle struct{ net.Conn }

func (c throttle) Read(b []byte) (int, error) {
	time.Sleep(5 * time.Millisecond)
	return c.Conn.Read(b[:min(len(b), 4<<10)])
}

// TestHTTP2SlowReader: what the kernel keeps for a slow client arrives, whole.
// net/http closes the connection 1 s after GOAWAY.
func TestHTTP2SlowReader(t *testing.T) {
	t.Parallel()
	slow(t)
	const size = 2 << 20
	for _, protocol := range protocols {
		for name, wrap := range map[string]func(net.Listener) net.Listener{
			"tcp":     func(l net.Listener) net.Listener { return l },
			"wrapped": func(l net.Listener) net.Listener { return wrapping{l} },
			"opaque":  func(l net.Listener) net.Listener { return opaque{l} },
		} {
			t.Run(protocol+", "+name, func(t *testing.T) {
				t.Parallel()
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				entered, finish := make(chan bool), make(chan bool)
				srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					entered <- true
					<-finish
					w.Write(bytes.Repeat([]byte("x"), size))
				})}
				goingAway := make(chan bool)
				srv.RegisterOnShutdown(func() { close(goingAway) })
				transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
					c, err := new(net.Dialer).DialContext(ctx, network, addr)
					return throttle{c}, err
				}}
				t.Cleanup(transport.CloseIdleConnections)
				served, scheme := wrap(l), "http"
				if protocol == "h2" {
					cert, client := certificate()
					served = tls.NewListener(served, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
					transport.TLSClientConfig, transport.ForceAttemptHTTP2, scheme = client, true, "https"
				} else {
					var h2c http.Protocols
					h2c.SetUnencryptedHTTP2(true)
					srv.Protocols, transport.Protocols = &h2c, &h2c
				}
				s := run(t, longGrace(), pid1.Listen(served, srv))
				all := getAll(t, &http.Client{Transport: transport}, scheme+"://"+l.Addr().String(), 1, size, entered)
				s.cancel(errStop)
				<-goingAway
				close(finish)
				all.Wait()
				if err := <-s.done; err != nil {
					t.Errorf("Run: %v", err)
				}
			})
		}
	}
}

// TestHTTP2Delay: the first answer in the delay sends the client away. It opens
// a new connection for the next one.
func TestHTTP2Delay(t *testing.T) {
	t.Parallel()
	slow(t)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			app := pid1.App{Delay: 30 * time.Minute, Quiet: 5 * time.Second} // which ends it, when the client has moved
			app.Shutdown.Grace = time.Hour
			s, client, url := serveHTTP2(t, &app, protocol, func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, r.RemoteAddr)
			})
			before := get(t, client, url)
			if again := get(t, client, url); again != before {
				t.Fatalf("two connections while serving: %s, %s", before, again)
			}
			s.cancel(errStop)
			<-app.Stopping()
			for get(t, client, url) == before {
				// until the GOAWAY has arrived
			}
			if err := <-s.done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHTTP2CutOff: a handler that gives up when its context ends can still say
// so on a connection that is about to be closed.
func TestHTTP2CutOff(t *testing.T) {
	t.Parallel()
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			attempts(t, func() error {
				entered := make(chan bool)
				app := new(pid1.App)
				app.Shutdown.Grace = time.Second
				s, client, url := serveHTTP2(t, app, protocol, func(w http.ResponseWriter, r *http.Request) {
					entered <- true
					<-r.Context().Done()
					fmt.Fprint(w, context.Cause(r.Context()))
				})
				answers := make(chan error, 1)
				go func() {
					res, err := client.Get(url + "/long")
					if err == nil {
						var answer []byte
						// HTTP/2 has a context of its own for each stream, without our cause.
						if answer, err = io.ReadAll(res.Body); len(answer) == 0 {
							err = errors.Join(err, errors.New("an empty answer"))
						}
						res.Body.Close()
					}
					answers <- err
				}()
				<-entered
				_, err := s.stop()
				if pid1.ExitCode(err) != 124 || !strings.Contains(fmt.Sprint(err), "GET /long (") {
					return fmt.Errorf("err %w", err)
				}
				return <-answers
			})
		})
	}
}

// TestHTTP2ResponseWriterIsUnwrapped: all that net/http's has is there.
func TestHTTP2ResponseWriterIsUnwrapped(t *testing.T) {
	s, client, url := serveHTTP2(t, new(pid1.App), "h2", func(w http.ResponseWriter, r *http.Request) {
		_, flusher := w.(http.Flusher)
		_, pusher := w.(http.Pusher)
		control := http.NewResponseController(w)
		err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{}), control.Flush())
		fmt.Fprint(w, flusher, pusher, err)
	})
	if got := get(t, client, url); got != "true true <nil>" {
		t.Errorf("got %q", got)
	}
	s.stopCleanly()
}

// TestHTTP2Loss compares with plain Shutdown: what a client cannot send again
// when GOAWAY comes, because its body is gone. Twenty streams share a connection.
func TestHTTP2Loss(t *testing.T) {
	slow(t)
	n := stops(t, 10)
	_, client := certificate()
	client.ServerName = "example.com"
	ours, theirs := fleet{tls: client}, fleet{tls: client}
	tookOurs := loss(t, n, &ours, drained)
	tookTheirs := loss(t, min(n, 100), &theirs, plain)
	t.Logf("drain, %d stops: POST %v, GET %v; took %v", n, &ours.posts, &ours.gets, spread(tookOurs))
	t.Logf("Shutdown, %d stops: POST %v, GET %v; took %v", min(n, 100), &theirs.posts, &theirs.gets, spread(tookTheirs))
	ours.errors.Range(func(k, _ any) bool { t.Log(k); return true })
	if lost := ours.gets.lost.Load(); lost > 0 {
		t.Errorf("%d GETs lost, which can be repeated", lost)
	}
	less := int64(1)
	if n >= 50 {
		less = 4 // few stops prove little, and a busy machine less
	}
	if o, t0 := ours.posts.lost.Load(), theirs.posts.lost.Load(); less*o > t0 {
		t.Errorf("%d POSTs lost, Shutdown loses %d", o, t0)
	}
}
