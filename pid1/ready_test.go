// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// readyApp is an App that is ready until the test ends.
func readyApp(t *testing.T, app *pid1.App) *served {
	s := run(t, app, pid1.Func(worker))
	<-stopWhenReady(app)
	t.Cleanup(func() { s.stop() })
	return s
}

func probe(h http.Handler) (status int, body string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	return w.Code, w.Body.String()
}

// The body names the checks that fail and how, and not why.
func TestReadyChecks(t *testing.T) {
	var app pid1.App
	var log bytes.Buffer
	app.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s := run(t, &app, pid1.Func(worker))
	<-stopWhenReady(&app)
	release := make(chan struct{})
	h := app.ReadyHandler(
		pid1.Check{Name: "passes", Func: func(context.Context) error { return nil }, Timeout: time.Minute},
		pid1.Check{Name: "fails", Func: func(context.Context) error { return errors.New("password hunter2") }, Timeout: time.Minute},
		pid1.Check{Name: "panics", Func: func(context.Context) error { panic("hunter2") }, Timeout: time.Minute},
		pid1.Check{Name: "hangs", Func: func(context.Context) error { <-release; return nil }, Timeout: 50 * time.Millisecond},
	)
	code, body := probe(h)
	if want := "not ready\nfails: failed\npanics: panicked\nhangs: no answer in time\n"; code != 503 || body != want {
		t.Errorf("got %d, %q; want 503, %q", code, body, want)
	}
	close(release)
	s.stopCleanly()
	for _, want := range []string{`check=fails error="password hunter2"`, "check=panics", "check=hangs", "panic=\"panic: hunter2\""} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, &log)
		}
	}
	if code, body := probe(h); code != 503 || body != "not ready\n" {
		t.Errorf("after the stop: %d, %q", code, body)
	}
}

// The checks run at the same time, and probes that come meanwhile share the result.
func TestReadyChecksAreShared(t *testing.T) {
	var app pid1.App
	readyApp(t, &app)
	var calls, running atomic.Int64
	release := make(chan struct{})
	slow := pid1.Check{Name: "slow", Timeout: time.Minute, Func: func(ctx context.Context) error {
		calls.Add(1)
		if running.Add(1) == 2 {
			close(release) // which never comes if they run one after the other
		}
		<-release
		return errors.New("boom")
	}}
	h := app.ReadyHandler(slow, slow)
	got := make(chan string)
	for range 10 {
		go func() { _, body := probe(h); got <- body }()
	}
	for range 10 {
		if body := <-got; body != "not ready\nslow: failed\nslow: failed\n" {
			t.Errorf("body %q", body)
		}
	}
	if n := calls.Load(); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
}

// A result is a second old at most. The clock is the bubble's.
func TestReadyChecksAreCached(t *testing.T) {
	var app pid1.App
	readyApp(t, &app)
	synctest.Test(t, func(t *testing.T) {
		calls, failing := 0, errors.New("boom")
		h := app.ReadyHandler(pid1.Check{Name: "db", Func: func(context.Context) error { calls++; return failing }})
		for _, test := range []struct {
			wait       time.Duration
			err        error
			code, call int
		}{
			{0, errors.New("boom"), 503, 1},
			{999 * time.Millisecond, nil, 503, 1},
			{time.Millisecond, nil, 200, 2},
			{999 * time.Millisecond, errors.New("boom"), 200, 2},
			{time.Millisecond, errors.New("boom"), 503, 3},
		} {
			time.Sleep(test.wait)
			failing = test.err
			if code, body := probe(h); code != test.code || calls != test.call {
				t.Errorf("%v: got %d, %q after %d calls; want %d after %d", test, code, body, calls, test.code, test.call)
			}
		}
	})
}

// A check that hangs fails each probe and has one goroutine, whatever it does with
// its context; when it has returned, it is called again.
func TestReadyCheckHangs(t *testing.T) {
	var app pid1.App
	readyApp(t, &app)
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var calls atomic.Int32
		h := app.ReadyHandler(pid1.Check{Name: "hangs", Func: func(ctx context.Context) error {
			calls.Add(1)
			if left := time.Until(deadline(ctx)); left != 900*time.Millisecond {
				t.Errorf("it has %v, want 900ms", left)
			}
			<-release
			return nil
		}})
		for range 5 {
			if code, body := probe(h); code != 503 || body != "not ready\nhangs: no answer in time\n" {
				t.Errorf("got %d, %q", code, body)
			}
			time.Sleep(2 * time.Second)
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("called %d times, want once", n)
		}
		close(release)
		synctest.Wait()
		if code, _ := probe(h); code != 200 || calls.Load() != 2 {
			t.Errorf("got %d after %d calls, want 200 after 2", code, calls.Load())
		}
	})
}

func deadline(ctx context.Context) time.Time {
	d, _ := ctx.Deadline()
	return d
}

func TestReadyCheckWithoutFunc(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	new(pid1.App).ReadyHandler(pid1.Check{Name: "db"})
}
