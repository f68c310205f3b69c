// SPDX-License-Identifier: MIT

package pid1_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// A handler of server-sent events (SSE) that watches only its context ends when the
// stop begins, and is told why.
func TestEndOnStop(t *testing.T) {
	app := pid1.App{Shutdown: shutdown.Pipeline{Grace: time.Minute}}
	begun, cause := make(chan struct{}), make(chan error, 1)
	events := func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		cause <- context.Cause(r.Context())
		w.Write([]byte("event: bye\n\n"))
	}
	app.Shutdown.Defer("late request", func(context.Context) error {
		app.EndOnStop(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if err := context.Cause(r.Context()); err != errStop {
				t.Errorf("a request after the beginning of the stop: cause %v, want %v", err, errStop)
			}
		})).ServeHTTP(nil, httptest.NewRequest("GET", "/", nil))
		return nil
	})
	s := serve(t, &app, &http.Server{Handler: app.EndOnStop(http.HandlerFunc(events))})
	w := dial(t, s.addr)
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-begun
	if took := s.stopCleanly(); took > 30*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if _, body := w.response(); body != "event: bye\n\n" {
		t.Errorf("got %q", body)
	}
	if err := <-cause; err != errStop {
		t.Errorf("cause %v, want %v", err, errStop)
	}
}

func TestStats(t *testing.T) {
	var app pid1.App
	if got := app.Stats(); got != (pid1.Stats{}) {
		t.Errorf("before Run: %+v", got)
	}
	app.Before("stats", func(context.Context) error {
		if got := app.Stats(); got.Phase != "starting" || got.Ready {
			t.Errorf("starting: %+v", got)
		}
		return nil
	})
	app.Shutdown.Defer("database", func(context.Context) error {
		if got := app.Stats(); got != (pid1.Stats{Phase: "stopping"}) {
			t.Errorf("in a hook: %+v", got)
		}
		return nil
	})
	begun, finish := make(chan bool), make(chan bool)
	s := serve(t, &app, &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { begun <- true; <-finish })})
	for range 2 {
		dial(t, s.addr).send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		<-begun
	}
	if got := app.Stats(); got != (pid1.Stats{Phase: "serving", Ready: true, InFlight: 2}) {
		t.Errorf("serving: %+v", got)
	}
	close(finish)
	s.stopCleanly()
	if got := app.Stats(); got != (pid1.Stats{Phase: "stopped"}) {
		t.Errorf("after Run: %+v", got)
	}
}

// A request is one, however many listeners its server has.
func TestStatsOfTwoListeners(t *testing.T) {
	begun, finish := make(chan bool), make(chan bool)
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { begun <- true; <-finish })}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var app pid1.App
	ctx, cancel := context.WithCancel(t.Context())
	app.Logger = discard
	done := make(chan error)
	go func() { done <- app.Run(ctx, pid1.Listen(l, srv), pid1.InOrder(pid1.Listen(other, srv))) }()
	dial(t, l.Addr().String()).send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-begun
	if got := app.Stats().InFlight; got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
	close(finish)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestProbe(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	mux.Handle("/moved", http.RedirectHandler("/nowhere", http.StatusFound))
	mux.HandleFunc("/busy", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(503)
		w.Write([]byte("not ready\ndatabase: failed\n"))
	})
	plain, secure := httptest.NewServer(mux), httptest.NewUnstartedServer(mux)
	secure.Config.ErrorLog = silent
	secure.StartTLS()
	defer plain.Close()
	defer secure.Close()
	for _, test := range []struct{ url, want string }{
		{plain.URL + "/ok", ""},
		{plain.URL + "/moved", ""},
		{secure.URL + "/ok", ""},
		{plain.URL + "/busy", "503 Service Unavailable: \"database: failed\""},
		{plain.URL + "/nowhere", "404"},
		{"http://127.0.0.1:1/", "refused"},
		{"no url", "unsupported protocol"},
	} {
		err := pid1.Probe(test.url)
		for try := 0; try < 3 && err != nil && strings.Contains(err.Error(), "exceeded"); try++ {
			err = pid1.Probe(test.url) // the machine has stalled for 3 s
		}
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.url, err, test.want)
		}
		if err != nil && pid1.ExitCode(err) != 1 {
			t.Errorf("%s: exit code %d, want 1", test.url, pid1.ExitCode(err))
		}
	}
}

// A server that does not answer is given up on.
func TestProbeHangs(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	if err := pid1.Probe(server.URL); err == nil || !strings.Contains(err.Error(), "exceeded") || pid1.ExitCode(err) != 1 {
		t.Errorf("%v, exit code %d; want that the time is exceeded, and 1", err, pid1.ExitCode(err))
	}
}
