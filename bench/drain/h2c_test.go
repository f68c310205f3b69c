// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// An appServer is an App that runs.
type appServer struct {
	t      *testing.T
	app    *pid1.App
	addr   string
	log    logBuffer
	cancel context.CancelFunc
	done   chan error
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *logBuffer) count(s string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.b.String(), s)
}

// serveH2C runs a server whose handler is h2c.NewHandler, as many gRPC and Connect
// services have it.
func serveH2C(t *testing.T, app *pid1.App, handler http.HandlerFunc) *appServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h2c.NewHandler(handler, new(http2.Server))}
	return runApp(t, app, pid1.Listen(l, srv), l.Addr())
}

func runApp(t *testing.T, app *pid1.App, server pid1.Server, addr net.Addr) *appServer {
	s := &appServer{t: t, app: app, addr: addr.String(), done: make(chan error, 1)}
	app.Logger = slog.New(slog.NewTextHandler(&s.log, nil))
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	t.Cleanup(cancel)
	go func() { s.done <- app.Run(ctx, server) }()
	return s
}

// ends waits for Run, which must neither fail nor last to its deadline.
func (s *appServer) ends() {
	s.t.Helper()
	select {
	case err := <-s.done:
		if err != nil {
			s.t.Errorf("Run: %v", err)
		}
	case <-time.After(s.app.Shutdown.Grace / 2):
		s.t.Error("the stop lasts")
	}
}

// refused waits until connections are refused.
func (s *appServer) refused() {
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

// h2cClient speaks HTTP/2 at once.
func h2cClient(t *testing.T) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func fetch(client *http.Client, url string) (string, error) {
	res, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

func remoteAddr(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, " ", r.RemoteAddr) }

func h2cApp() *pid1.App {
	app := new(pid1.App)
	app.Shutdown.Grace = time.Minute
	return app
}

// TestH2CIdle: idle clients do not hold up the stop, whether they heed a GOAWAY or
// know of none. The user reads once how to do without h2c.NewHandler.
func TestH2CIdle(t *testing.T) {
	t.Parallel()
	s := serveH2C(t, h2cApp(), remoteAddr)
	for range 3 {
		if got, err := fetch(h2cClient(t), "http://"+s.addr); !strings.HasPrefix(got, "HTTP/2.0") || err != nil {
			t.Fatalf("%s, %v", got, err)
		}
	}
	deaf, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	io.WriteString(deaf, http2.ClientPreface)
	framer := http2.NewFramer(deaf, deaf)
	framer.WriteSettings()
	goAway := make(chan *http2.GoAwayFrame, 1)
	settled := make(chan bool, 10)
	go func() {
		defer close(goAway)
		for {
			f, err := framer.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.SettingsFrame:
				settled <- true
			case *http2.GoAwayFrame:
				goAway <- f
			}
		}
	}()
	<-settled
	s.cancel()
	s.ends()
	if f := <-goAway; f == nil || f.LastStreamID != 1<<31-1 || f.ErrCode != http2.ErrCodeNo {
		t.Errorf("got %v, want a GOAWAY that refuses nothing", f)
	}
	if got := s.log.count("SetUnencryptedHTTP2"); got != 1 {
		t.Errorf("%d warnings, want 1", got)
	}
}

// TestH2CInFlight: a request is served, whole, and its connection then closed.
func TestH2CInFlight(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	entered, finish := make(chan bool), make(chan bool)
	s := serveH2C(t, h2cApp(), func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-finish
		w.Write(make([]byte, size))
	})
	client := h2cClient(t)
	type answer struct {
		body string
		err  error
	}
	answers := make(chan answer, 4)
	for range cap(answers) {
		go func() {
			body, err := fetch(client, "http://"+s.addr)
			answers <- answer{body, err}
		}()
		<-entered
	}
	s.cancel()
	s.refused()
	close(finish)
	for range cap(answers) {
		if a := <-answers; len(a.body) != size || a.err != nil {
			t.Errorf("%d bytes, %v", len(a.body), a.err)
		}
	}
	s.ends()
}

// TestH2CCutOff: a request that does not end is cut off, and named.
func TestH2CCutOff(t *testing.T) {
	t.Parallel()
	entered := make(chan bool)
	app := new(pid1.App)
	app.Shutdown.Grace = time.Second
	s := serveH2C(t, app, func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-r.Context().Done()
	})
	go fetch(h2cClient(t), "http://"+s.addr)
	<-entered
	s.cancel()
	if err := <-s.done; pid1.ExitCode(err) != 124 || !strings.Contains(err.Error(), "HTTP/2 requests behind h2c.NewHandler (") {
		t.Errorf("err %v", err)
	}
}

// TestH2CDelay: the first response in the delay sends the client away, to a new
// connection. No POST is lost, and none handled twice.
func TestH2CDelay(t *testing.T) {
	t.Parallel()
	app := h2cApp()
	app.Delay = 4 * time.Second
	var handled atomic.Int64
	s := serveH2C(t, app, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			handled.Add(1)
		}
		remoteAddr(w, r)
	})
	client := h2cClient(t)
	url := "http://" + s.addr
	before, err := fetch(client, url)
	if err != nil {
		t.Fatal(err)
	}
	var posts, lost atomic.Int64
	var quit atomic.Bool
	var posters sync.WaitGroup
	for range 10 {
		posters.Go(func() {
			for !quit.Load() {
				// Go's client sends it again only if the server has refused it, or
				// not seen it: a connection that is told to go may be chosen still.
				res, err := client.Post(url, "text/plain", strings.NewReader("hello"))
				if posts.Add(1); err != nil {
					t.Log(err)
					lost.Add(1)
					return
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
	s.cancel()
	<-app.Stopping()
	for {
		got, err := fetch(client, url)
		if err != nil {
			t.Fatal(err)
		}
		if got != before {
			break
		}
	}
	quit.Store(true)
	posters.Wait()
	if lost.Load() > 0 || handled.Load() != posts.Load() {
		t.Errorf("%d of %d POSTs lost, %d handled", lost.Load(), posts.Load(), handled.Load())
	}
	s.ends()
}

// TestH2CUpgrade: the other way into h2c.NewHandler. What it does not take over
// is told to leave like any request.
func TestH2CUpgrade(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("needs curl")
	}
	entered, finish := make(chan bool), make(chan bool)
	s := serveH2C(t, h2cApp(), func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-finish
		remoteAddr(w, r)
	})
	var out bytes.Buffer
	cmd := exec.Command(curl, "-sS", "--http2", "http://"+s.addr)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-entered
	s.cancel()
	s.refused()
	close(finish)
	if err := cmd.Wait(); err != nil || !strings.HasPrefix(out.String(), "HTTP/1.1") {
		t.Errorf("%v, %s", err, &out) // the request was HTTP/1.1, its response is HTTP/2
	}
	s.ends()
}

// TestH2CLoad: h2load gets all responses of handlers that ran behind h2c.NewHandler.
func TestH2CLoad(t *testing.T) {
	h2load, err := exec.LookPath("h2load")
	if err != nil {
		t.Skip("needs h2load")
	}
	for range 5 {
		var handled atomic.Int64
		loaded := make(chan bool)
		s := serveH2C(t, h2cApp(), func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(500 * time.Microsecond)
			w.Write(make([]byte, 1<<10))
			if handled.Add(1) == 500 {
				close(loaded)
			}
		})
		var out bytes.Buffer
		cmd := exec.Command(h2load, "-n", "1000000", "-c", "5", "-m", "10", "http://"+s.addr)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-loaded
		s.cancel()
		s.ends()
		cmd.Wait() // which is about the requests that it could not make
		if want := fmt.Sprintf("status codes: %d 2xx, 0 3xx, 0 4xx, 0 5xx", handled.Load()); !strings.Contains(out.String(), want) {
			t.Errorf("%d handlers ran; h2load wrote:\n%s", handled.Load(), &out)
		}
	}
}
