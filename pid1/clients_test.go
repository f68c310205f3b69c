// SPDX-License-Identifier: MIT

//go:build unix

package pid1_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
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

// The tests of this file stop a server under clients that are not Go's: curl, nghttp
// and h2load. They are skipped where these are not installed, but fail there with
// CI=true.

// serveClients serves handler by the protocol, "h2" with TLS or "h2c" without, beside
// HTTP/1.
func serveClients(t *testing.T, app *pid1.App, protocol string, handler http.HandlerFunc) (s *served, url string) {
	t.Helper()
	srv := &http.Server{Handler: handler, ErrorLog: silent}
	scheme := "http"
	if protocol == "h2" {
		cert, _ := certificate()
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
		scheme = "https"
	} else {
		srv.Protocols = new(http.Protocols)
		srv.Protocols.SetHTTP1(true)
		srv.Protocols.SetUnencryptedHTTP2(true)
	}
	goingAway := make(chan struct{})
	srv.RegisterOnShutdown(func() { close(goingAway) })
	s = serve(t, app, srv)
	s.goingAway = goingAway
	return s, scheme + "://" + s.addr + "/"
}

// A client is a program that makes requests.
type client struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  bytes.Buffer // what it wrote to stdout, when it has ended
	errs bytes.Buffer // to stderr
}

func startClient(t *testing.T, program string, args ...string) *client {
	t.Helper()
	c := &client{t: t, cmd: exec.CommandContext(nstest.Context(t), installed(t, program), args...)}
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.errs
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.cmd.Process.Kill() }) // in case the test does not get to its end
	return c
}

// exit waits for the end and returns the exit code.
func (c *client) exit() int {
	c.t.Helper()
	var exit *exec.ExitError
	if err := c.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return c.cmd.ProcessState.ExitCode()
}

// wantFrames checks nghttp's log of frames: it has a GOAWAY, no error, and all responses,
// whole.
func (c *client) wantFrames(responses, size int) {
	c.t.Helper()
	if code := c.exit(); code != 0 || c.errs.Len() > 0 {
		c.t.Errorf("nghttp: exit code %d, %s", code, &c.errs)
	}
	said := c.out.String()
	received := 0
	for _, frame := range regexp.MustCompile(`recv DATA frame <length=(\d+)`).FindAllStringSubmatch(said, -1) {
		n, _ := strconv.Atoi(frame[1])
		received += n
	}
	if got := strings.Count(said, ":status: 200"); got != responses || received != responses*size {
		c.t.Errorf("%d responses, %d bytes; want %d, %d", got, received, responses, responses*size)
	}
	if !strings.Contains(said, "recv GOAWAY") {
		c.t.Error("no GOAWAY")
	}
	for _, code := range regexp.MustCompile(`error_code=\w+`).FindAllString(said, -1) {
		if code != "error_code=NO_ERROR" {
			c.t.Errorf("a frame with %s", code)
		}
	}
	if c.t.Failed() {
		c.t.Logf("nghttp wrote:\n%s", said)
	}
}

// TestNghttpInFlight: nghttp gets the responses to what is in flight when the stop
// begins, whole, and is told to go.
func TestNghttpInFlight(t *testing.T) {
	t.Parallel()
	const streams, size = 20, 100 << 10 // more than a window of HTTP/2
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			entered, finish := make(chan bool), make(chan bool)
			s, url := serveClients(t, longGrace(), protocol, func(w http.ResponseWriter, r *http.Request) {
				entered <- true
				<-finish
				w.Write(make([]byte, size))
			})
			c := startClient(t, "nghttp", "-vny", "-m", strconv.Itoa(streams), url)
			for range streams {
				<-entered
			}
			s.cancel(errStop)
			s.refused()
			<-s.goingAway
			close(finish)
			c.wantFrames(streams, size)
			if err := <-s.done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

// TestClientsInformed: informational responses in the delay, which nghttp2 takes for a
// PROTOCOL_ERROR when they carry Connection: close.
func TestClientsInformed(t *testing.T) {
	slow(t)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			const requests = 5
			app := longGrace()
			app.Delay = time.Minute
			s, url := serveClients(t, app, protocol, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusEarlyHints)
				if r.Method == "POST" {
					w.WriteHeader(http.StatusContinue)
					io.Copy(io.Discard, r.Body)
				}
				io.WriteString(w, "hello")
			})
			s.cancel(errStop)
			<-app.Stopping()

			c := startClient(t, "nghttp", "-vny", "-m", strconv.Itoa(requests), url)
			c.wantFrames(requests, len("hello"))
			if got := strings.Count(c.out.String(), ":status: 103"); got != requests {
				t.Errorf("%d informational responses, want %d", got, requests)
			}
			flag := map[string]string{"h2": "--http2", "h2c": "--http2-prior-knowledge"}[protocol]
			request := []string{"-sSk", flag, "-d", "hello", "-w", " %{http_code} over %{http_version}, new connections %{num_connects}\n", url}
			c = startClient(t, "curl", append(append(request, "--next"), request...)...)
			want := strings.Repeat("hello 200 over 2, new connections 1\n", 2)
			if code := c.exit(); code != 0 || c.out.String() != want {
				t.Errorf("curl: exit code %d, %q, %s", code, &c.out, &c.errs)
			}
			endDelay(t)
			if err := <-s.done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

// endDelay sends two stop signals in a delay. The first one after the end of ctx
// changes nothing.
func endDelay(t *testing.T) {
	t.Helper()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		if n > 0 {
			time.Sleep(1200 * time.Millisecond) // within half a second it would be the same one
		}
		if err := self.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
	}
}

// TestH2Load: h2load gets all responses of handlers that ran, on connections with many
// requests in flight.
func TestH2Load(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			n := stops(t, 5)
			total := 0
			for range n {
				var handled atomic.Int64
				loaded := make(chan bool)
				s, url := serveClients(t, longGrace(), protocol, func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(500 * time.Microsecond)
					w.Write(make([]byte, 1<<10))
					if handled.Add(1) == 500 {
						close(loaded)
					}
				})
				c := startClient(t, "h2load", "-n", "1000000", "-c", "5", "-m", "10", url)
				<-loaded
				s.stopCleanly()
				c.exit() // which is about those requests that it could not make
				answered := -1
				if found := regexp.MustCompile(`status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx`).FindSubmatch(c.out.Bytes()); found != nil {
					answered, _ = strconv.Atoi(string(found[1]))
				}
				if want := int(handled.Load()); answered != want {
					t.Errorf("%d responses, %d handlers ran; h2load wrote:\n%s%s", answered, want, &c.out, &c.errs)
				}
				total += answered
			}
			t.Logf("%d stops, %d responses", n, total)
		})
	}
}

// TestCurlUpgradeLoss: curl --http2 asks for Upgrade: h2c with each request, and is
// told to close like any other client.
func TestCurlUpgradeLoss(t *testing.T) {
	const clients = 8
	n := stops(t, 5)
	total := 0
	for range n {
		var handled, connected atomic.Int64
		var seen sync.Map
		var warm sync.WaitGroup
		warm.Add(50 + clients) // a client that connects at that moment may be reset, see docs/design.md
		s := serve(t, longGrace(), &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Upgrade"); got != "h2c" {
				t.Errorf("Upgrade: %q", got)
			}
			if handled.Add(1) <= 50 {
				warm.Done()
			}
			if _, again := seen.LoadOrStore(r.RemoteAddr, true); !again && connected.Add(1) <= clients {
				warm.Done()
			}
			time.Sleep(500 * time.Microsecond)
			io.WriteString(w, "hello")
		})})
		var curls []*client
		for range clients {
			curls = append(curls, startClient(t, "curl", "-sSv", "--http2", "--fail-early", "-d", "hello", "-o", "/dev/null", "-w", "%{http_code}\n", "http://"+s.addr+"/[1-1000000]"))
		}
		warm.Wait()
		s.stopCleanly()
		answered := 0
		for _, c := range curls {
			const refused = 7
			code := c.exit()
			answered += strings.Count(c.out.String(), "200\n")
			// What curl does when a connection ends before the response.
			if said := c.errs.String(); code != refused || strings.Contains(said, "retrying") {
				t.Errorf("curl: exit code %d, ...%s", code, said[max(0, len(said)-1000):])
			}
		}
		if want := int(handled.Load()); answered != want {
			t.Errorf("%d responses, %d handlers ran", answered, want)
		}
		total += answered
	}
	t.Logf("%d stops, %d responses", n, total)
}

// TestCurlStopped: clients with TLS that are stopped, and so read nothing: the stop
// ends inside the grace, and the contexts of their requests are cancelled.
func TestCurlStopped(t *testing.T) {
	t.Parallel()
	slow(t)
	const clients = 35
	cert, _ := certificate()
	var app pid1.App
	app.Shutdown.Grace = 4 * time.Second
	entered, stopped := make(chan bool), make(chan bool)
	endless := make([]byte, 64<<20) // more than kernels keep
	var cancelled atomic.Int64
	var handlers sync.WaitGroup
	handlers.Add(clients)
	s := serve(t, &app, &http.Server{
		ErrorLog:  silent,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer handlers.Done()
			entered <- true
			<-stopped
			if _, err := w.Write(endless); err != nil && r.Context().Err() != nil {
				cancelled.Add(1)
			}
		}),
	})
	var curls []*client
	for range clients {
		c := startClient(t, "curl", "-sSk", "--http1.1", "-o", "/dev/null", "https://"+s.addr)
		<-entered
		if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		curls = append(curls, c)
	}
	close(stopped)
	stalled := stalls(t)
	took, err := s.stop()
	if pid1.ExitCode(err) != 124 || !strings.Contains(fmt.Sprint(err), "requests cut off") {
		skipIfStalled(t, stalled(), err)
		t.Errorf("Run: %v", err)
	}
	if took > app.Shutdown.Grace+stalled() {
		t.Errorf("took %v, want %v at most; the machine has stalled for %v", took, app.Shutdown.Grace, stalled())
	}
	handlers.Wait()
	if got := cancelled.Load(); got != clients {
		t.Errorf("the contexts of %d requests were cancelled, want %d", got, clients)
	}
	for _, c := range curls {
		c.cmd.Process.Kill() // which works on a stopped process
		c.cmd.Wait()
	}
}
