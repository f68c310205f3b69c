// SPDX-License-Identifier: MIT

package pid1_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

var discard = slog.New(slog.DiscardHandler)

// worker is a Func that does nothing until it should stop.
func worker(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestRunRefusesBadInput(t *testing.T) {
	var nilServer *http.Server
	run := func(app *pid1.App, srv ...pid1.Server) func() error {
		return func() error { return app.Run(t.Context(), srv...) }
	}
	tests := []struct {
		name string
		env  string // SHUTDOWN_GRACE
		run  func() error
		want []string
	}{
		{"no server", "", run(&pid1.App{}), []string{"no server", "pid1.Func"}},
		{"nil server", "", run(&pid1.App{}, pid1.Func(worker), nil), []string{"server 2 of 2 is nil"}},
		{"typed nil", "", run(&pid1.App{}, nilServer), []string{"server 1 of 1 is nil", "*http.Server"}},
		{"child without Cmd", "", run(&pid1.App{}, &pid1.Child{}), []string{"server 1 of 1", "Cmd is nil"}},
		{"named nil", "", run(&pid1.App{}, pid1.Named("x", nil)), []string{"server 1 of 1 is nil"}},
		{"negative Grace", "", run(&pid1.App{Shutdown: shutdown.Pipeline{Grace: -time.Second}}, pid1.Func(worker)), []string{"Grace", "-1s"}},
		{"negative Reserve", "", run(&pid1.App{Shutdown: shutdown.Pipeline{Reserve: -time.Second}}, pid1.Func(worker)), []string{"Reserve", "-1s"}},
		{"SHUTDOWN_GRACE", "soon", run(&pid1.App{}, pid1.Func(worker)), []string{"SHUTDOWN_GRACE", `"soon"`}},
		{"delay too long", "", run(&pid1.App{Delay: time.Minute}, pid1.Func(worker)), []string{"delay 1m", "10s grace"}},
		{"SIGKILL", "", run(&pid1.App{Signals: []os.Signal{syscall.SIGTERM, syscall.SIGKILL}}, pid1.Func(worker)), []string{"Signals[1]", "SIGKILL"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("SHUTDOWN_GRACE", test.env)
			err := test.run()
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not contain %q", err, want)
				}
			}
			if n := strings.Count(err.Error(), test.want[0]); n != 1 {
				t.Errorf("told %d times: %v", n, err)
			}
			if got := pid1.ExitCode(err); got != 1 {
				t.Errorf("exit code %d, want 1", got)
			}
		})
	}
}

func TestRunTwice(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	app := pid1.App{Logger: discard}
	if err := app.Run(ctx, pid1.Func(worker)); err != nil {
		t.Fatal(err)
	}
	if err := app.Run(ctx, pid1.Func(worker)); err == nil || !strings.Contains(err.Error(), "called twice") {
		t.Fatalf("second Run: %v", err)
	}
}

// TestRunHooksAfterBadInput: what was opened before Run is closed all the same.
func TestRunHooksAfterBadInput(t *testing.T) {
	app := pid1.App{Logger: discard}
	closed := false
	app.Shutdown.Defer("db", func(context.Context) error { closed = true; return nil })
	if err := app.Run(t.Context()); err == nil || !closed {
		t.Errorf("err %v, hook run %v; want an error and true", err, closed)
	}
}

func TestBeforeFails(t *testing.T) {
	boom := errors.New("boom")
	var ran []string
	app := pid1.App{Logger: discard}
	step := func(name string, err error) {
		app.Before(name, func(context.Context) error { ran = append(ran, name); return err })
	}
	step("one", nil)
	step("two", boom)
	step("three", nil)
	app.Shutdown.Defer("db", func(context.Context) error { ran = append(ran, "db"); return nil })

	err := app.Run(t.Context(), pid1.Func(func(context.Context) error { ran = append(ran, "served"); return nil }))
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), `before "two"`) {
		t.Errorf("err %v", err)
	}
	if got, want := fmt.Sprint(ran), "[one two db]"; got != want {
		t.Errorf("ran %v, want %v", got, want)
	}
}

// TestBeforeIgnoresStop: a step that does not heed the stop has a budget, and
// then is left behind by name.
func TestBeforeIgnoresStop(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	defer close(release)
	app := pid1.App{Logger: discard, Shutdown: shutdown.Pipeline{Grace: 400 * time.Millisecond}}
	app.Before("migrate", func(context.Context) error {
		cancel()
		<-release
		return nil
	})
	reports := reportOf(&app)
	err := app.Run(ctx, pid1.Func(worker))
	if got := pid1.ExitCode(err); got != 124 || !strings.Contains(fmt.Sprint(err), "before migrate") {
		t.Errorf("exit code %d, err %v; want 124 and the step's name", got, err)
	}
	if report := <-reports; len(report.Steps) != 1 {
		t.Errorf("steps %v, want one", report.Steps)
	}
}

func TestFuncReturns(t *testing.T) {
	boom := errors.New("boom")
	for _, want := range []error{nil, boom} {
		app := pid1.App{Logger: discard}
		stopped := false
		reports := reportOf(&app)
		err := app.Run(t.Context(),
			pid1.Named("job", pid1.Func(func(context.Context) error { return want })),
			pid1.Func(func(ctx context.Context) error { <-ctx.Done(); stopped = true; return ctx.Err() }))
		if !errors.Is(err, want) || !stopped {
			t.Errorf("err %v, other server stopped %v; want %v and true", err, stopped, want)
		}
		var ended *pid1.ServerError
		if cause := (<-reports).Cause; !errors.As(cause, &ended) || ended.Server != "job" {
			t.Errorf("cause %v, want a ServerError of job", cause)
		}
		if n := strings.Count(fmt.Sprint(err), "boom"); want != nil && n != 1 {
			t.Errorf("the error is told %d times: %v", n, err)
		}
	}
}

// TestFuncFailsWhenStopped: what a worker says after it was stopped is not lost.
func TestFuncFailsWhenStopped(t *testing.T) {
	boom := errors.New("last batch lost")
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	app := pid1.App{Logger: discard}
	err := app.Run(ctx, pid1.Func(func(ctx context.Context) error {
		cancel(cause)
		<-ctx.Done()
		if got := context.Cause(ctx); got != cause {
			t.Errorf("cause of the worker's context %v, want %v", got, cause)
		}
		return boom
	}))
	if !errors.Is(err, boom) || pid1.ExitCode(err) != 1 {
		t.Errorf("err %v, want %v", err, boom)
	}
}

func TestFuncEndsByGoexit(t *testing.T) {
	app := pid1.App{Logger: discard}
	if err := app.Run(t.Context(), pid1.Func(func(context.Context) error { runtime.Goexit(); return nil })); err == nil {
		t.Error("no error")
	}
}

func TestReady(t *testing.T) {
	var app pid1.App
	app.Logger = discard
	status := func() int {
		w := httptest.NewRecorder()
		app.ReadyHandler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		return w.Code
	}
	check := func(when string, ready bool, code int) {
		t.Helper()
		if got, gotCode := app.Ready(), status(); got != ready || gotCode != code {
			t.Errorf("%s: Ready %v, status %d; want %v, %d", when, got, gotCode, ready, code)
		}
	}
	check("before Run", false, 503)
	app.Before("check", func(context.Context) error { check("before listening", false, 503); return nil })
	app.Shutdown.Defer("check", func(context.Context) error { check("in a hook", false, 503); return nil })

	ctx, cancel := context.WithCancel(t.Context())
	stopping := app.Stopping()
	addr := make(chan net.Addr, 1)
	done := make(chan error)
	go func() { done <- app.Run(ctx, &http.Server{Addr: "127.0.0.1:0", BaseContext: tell(addr)}) }()
	<-addr
	check("while serving", true, 200)
	select {
	case <-stopping:
		t.Error("Stopping is closed while serving")
	default:
	}
	cancel()
	<-stopping
	check("stopping", false, 503)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// tell is a BaseContext that sends the listener's address.
func tell(addr chan<- net.Addr) func(net.Listener) context.Context {
	return func(l net.Listener) context.Context {
		addr <- l.Addr()
		return context.Background()
	}
}

// TestDelayQuiet: the delay serves, ends early when it is quiet, and probes do
// not count as requests.
func TestDelayQuiet(t *testing.T) {
	t.Parallel()
	var app pid1.App
	app.Logger = discard
	app.Shutdown.Grace = time.Hour
	app.Delay, app.Quiet = 30*time.Minute, 300*time.Millisecond
	mux := http.NewServeMux()
	mux.Handle("/readyz", app.ReadyHandler())
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addr := make(chan net.Addr, 1)
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx, &http.Server{Addr: "127.0.0.1:0", Handler: mux, BaseContext: tell(addr)}) }()
	url := "http://" + (<-addr).String()
	get := func(path string) (*http.Response, error) {
		res, err := http.Get(url + path)
		if err == nil {
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		return res, err
	}

	if res, err := get("/readyz"); err != nil || res.StatusCode != 200 || res.Close {
		t.Fatalf("while serving: %v, %v", res, err)
	}
	last := time.Now()
	cancel()
	<-app.Stopping()
	if res, err := get("/readyz"); err != nil || res.StatusCode != 503 {
		skipIfLate(t, last, app.Quiet)
		t.Fatalf("in the delay: %v, %v", res, err)
	}
	for closes := false; !closes; { // from a moment after Stopping on
		sent := time.Now() // the server cannot have seen it before
		res, err := get("/")
		if err != nil {
			skipIfLate(t, last, app.Quiet)
		}
		last = sent
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("in the delay: %v, %v; want 200 with Connection: close", res, err)
		}
		closes = res.Close
	}

	// A probe that comes more often than Quiet does not keep the delay up.
	// Were it counted, this loop would go on for the whole delay.
	for {
		if _, err := get("/readyz"); errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestDelayInKubernetes: the default waits for network servers only.
func TestDelayInKubernetes(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	app := pid1.App{Logger: discard}
	reports := reportOf(&app)
	if err := app.Run(ctx, pid1.Func(worker)); err != nil {
		t.Fatal(err)
	}
	for _, s := range (<-reports).Steps {
		if s.Name == "delay" {
			t.Error("a delay for a worker")
		}
	}
}

// TestDeferWhileStopping: hooks that are deferred from the first moment of the
// stop on come after the servers, whose handlers may use what they close.
func TestDeferWhileStopping(t *testing.T) {
	for name, delay := range map[string]time.Duration{"delay": 10 * time.Millisecond, "none": -1} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			app := pid1.App{Logger: discard, Delay: delay}
			app.Shutdown.Grace, app.Shutdown.Reserve = time.Minute, time.Nanosecond
			reports := reportOf(&app)
			nothing := func(context.Context) error { return nil }
			app.Shutdown.Defer("first", nothing)
			err := app.Run(ctx, pid1.Named("worker", pid1.Func(func(ctx context.Context) error {
				app.Shutdown.Defer("serving", nothing)
				cancel()
				<-app.Stopping()
				for range 1000 {
					app.Shutdown.Defer("stopping", nothing)
				}
				return worker(ctx)
			})))
			if err != nil {
				t.Fatal(err)
			}
			var names, want []string
			for _, s := range (<-reports).Steps {
				names = append(names, s.Name)
			}
			if delay > 0 {
				want = append(want, "delay")
			}
			want = append(want, "worker")
			want = append(want, slices.Repeat([]string{"stopping"}, 1000)...)
			want = append(want, "serving", "first")
			if !slices.Equal(names, want) {
				t.Errorf("steps %q, want %q", slices.Compact(names), slices.Compact(want))
			}
		})
	}
}

func TestServersInReport(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	app := pid1.App{Logger: discard}
	reports := reportOf(&app)
	var up sync.WaitGroup
	up.Add(2)
	up2 := func(ctx context.Context) error { up.Done(); return worker(ctx) }
	go func() { up.Wait(); cancel() }()
	if err := app.Run(ctx, pid1.Named("one", pid1.Func(up2)), pid1.Named("two", pid1.Func(up2))); err != nil {
		t.Fatal(err)
	}
	steps := (<-reports).Steps
	if s := steps[0]; s.Name != "servers" || len(s.Members) != 2 || s.Members[0].Name != "one" || s.Members[1].Name != "two" {
		t.Errorf("steps %+v, want servers with the members one and two", steps)
	}
}

// TestRunLeavesNothing: no goroutine (goleak, in TestMain) and no descriptor.
func TestRunLeavesNothing(t *testing.T) {
	if _, err := os.ReadDir("/proc/self/fd"); err != nil {
		t.Skip("no /proc/self/fd to count descriptors in")
	}
	count := func() int {
		entries, _ := os.ReadDir("/proc/self/fd")
		return len(entries)
	}
	once := func() {
		ctx, cancel := context.WithCancel(t.Context())
		app := pid1.App{Logger: discard}
		app.Reaper.Subreaper = runtime.GOOS == "linux"
		addr := make(chan net.Addr, 1)
		done := make(chan error)
		go func() { done <- app.Run(ctx, &http.Server{Addr: "127.0.0.1:0", BaseContext: tell(addr)}) }()
		res, err := http.Get("http://" + (<-addr).String())
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		http.DefaultClient.CloseIdleConnections()
	}
	once() // opens what Go itself keeps open: epoll, for one
	before := count()
	for range 5 {
		once()
	}
	// The client's own sockets are closed by goroutines of its own.
	deadline := time.Now().Add(5 * time.Second)
	for count() > before && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
