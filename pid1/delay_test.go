// SPDX-License-Identifier: MIT

package pid1_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// steps are the names of the steps of the stop.
func (s *served) steps() (names []string) {
	for _, step := range s.report().Steps {
		names = append(names, step.Name)
	}
	return names
}

func TestDelayDefault(t *testing.T) {
	tests := []struct {
		name       string
		kubernetes string
		delay      time.Duration
		want       bool
	}{
		{"elsewhere", "", 0, false},
		{"in Kubernetes", "10.0.0.1", 0, true},
		{"in Kubernetes, without", "10.0.0.1", -1, false},
		{"set", "", time.Second, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("KUBERNETES_SERVICE_HOST", test.kubernetes)
			s := serve(t, &pid1.App{Delay: test.delay, Quiet: time.Nanosecond}, new(http.Server))
			s.stopCleanly()
			if got := slices.Contains(s.steps(), "delay"); got != test.want {
				t.Errorf("steps %q; want a delay: %v", s.steps(), test.want)
			}
		})
	}
}

// TestDelayServerDied: a delay does not help what is dead.
func TestDelayServerDied(t *testing.T) {
	var srv http.Server
	s := serve(t, &pid1.App{Delay: time.Minute, Shutdown: shutdown.Pipeline{Grace: time.Hour}}, &srv)
	srv.Close()
	if err := <-s.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if slices.Contains(s.steps(), "delay") {
		t.Errorf("steps %q", s.steps())
	}
}

// TestQuietWithProbes: probes of several kinds come more often than Quiet, and
// the delay ends all the same.
func TestQuietWithProbes(t *testing.T) {
	t.Parallel()
	app := pid1.App{Delay: 30 * time.Minute, Quiet: 300 * time.Millisecond, Shutdown: shutdown.Pipeline{Grace: time.Hour}}
	mux := http.NewServeMux()
	mux.Handle("/readyz", app.ReadyHandler())
	mux.HandleFunc("/livez", func(http.ResponseWriter, *http.Request) {})
	s := serve(t, &app, &http.Server{Handler: mux})
	s.cancel(errStop)
	<-app.Stopping()

	probe := func(path, agent string) error {
		req, err := http.NewRequest("GET", "http://"+s.addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("User-Agent", agent)
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	for {
		err := errors.Join(probe("/readyz", "haproxy"), probe("/readyz?verbose", "curl"), probe("/livez", "kube-probe/1.35"))
		if errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestReadyHandlerUnderManyURIs: what clients choose does not pile up.
func TestReadyHandlerUnderManyURIs(t *testing.T) {
	var app pid1.App
	s := serve(t, &app, &http.Server{Handler: app.ReadyHandler()})
	w := dial(t, s.addr)
	for i := range 100 {
		w.send(fmt.Sprintf("GET /?n=%d HTTP/1.1\r\nHost: a\r\n\r\n", i))
		if res, _ := w.response(); res.StatusCode != 200 {
			t.Fatal(res.Status)
		}
	}
	s.stopCleanly()
	io.Copy(io.Discard, w)
}

// TestQuietWithRequests: requests keep the delay up.
func TestQuietWithRequests(t *testing.T) {
	t.Parallel()
	const quiet = 300 * time.Millisecond
	app := pid1.App{Delay: 30 * time.Minute, Quiet: quiet, Shutdown: shutdown.Pipeline{Grace: time.Hour}}
	s := serve(t, &app, &http.Server{Handler: answer("hello")})
	s.cancel(errStop)
	<-app.Stopping()
	last := time.Now() // the server cannot have seen it before
	for began := last; time.Since(began) < 3*quiet; {
		sent := time.Now()
		res, err := http.Get("http://" + s.addr)
		if err == nil {
			res.Body.Close()
		}
		if time.Since(last) >= quiet {
			break // this machine was too slow: the delay may be over
		}
		if err != nil {
			t.Errorf("%v after the stop began: %v", time.Since(began), err)
			break
		}
		last = sent
		time.Sleep(time.Millisecond)
	}
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestDelayCutShort: hooks that are added when the plan is made already have their
// Reserve all the same. What that takes from the delay is logged.
func TestDelayCutShort(t *testing.T) {
	var log strings.Builder
	app := &pid1.App{Delay: time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	app.Shutdown.Grace = 2 * time.Second
	app.OnReady("add", func(context.Context) error {
		for range 12 {
			app.Shutdown.Defer("late", func(context.Context) error { return nil })
		}
		return nil
	})
	s := run(t, app, pid1.Func(worker))
	<-stopWhenReady(app)
	if _, err := s.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := s.report().Steps[0].Took; !strings.Contains(log.String(), "delay cut short") || took >= app.Delay {
		t.Errorf("the delay took %v; log:\n%s", took, &log)
	}
}
