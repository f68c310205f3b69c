// SPDX-License-Identifier: MIT

//go:build unix

package pid1_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// These tests hold sentences of the documentation that no other test holds. The
// table is docs/promises.md.

func init() {
	helpers["signal after run"] = signalAfterRunMain
	helpers["goroutine panics"] = goroutinePanicsMain
}

func signalSelf(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		t.Error(err)
	}
}

// stopBy makes a worker that ends the App's ctx when it runs.
func stopBy(cancel context.CancelFunc) pid1.Server {
	return pid1.Func(func(ctx context.Context) error { cancel(); return worker(ctx) })
}

// Each of these servers waits until the other is told to stop, too.
func TestServersStopAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var up, told sync.WaitGroup
	up.Add(2)
	told.Add(2)
	f := func(ctx context.Context) error {
		up.Done()
		<-ctx.Done()
		told.Done()
		told.Wait()
		return nil
	}
	go func() { up.Wait(); cancel() }()
	app := pid1.App{Logger: discard}
	if err := app.Run(ctx, pid1.Func(f), pid1.Func(f)); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// With an empty list no signal begins a stop.
func TestNoStopSignals(t *testing.T) {
	caught := make(chan os.Signal, 2) // else they end the test
	signal.Notify(caught, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(caught)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	app := pid1.App{Logger: discard, Signals: []os.Signal{}}
	err := app.Run(ctx, pid1.Func(func(ctx context.Context) error {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
			signalSelf(t, sig)
			<-caught
		}
		select {
		case <-app.Stopping():
			t.Error("a signal began a stop")
		case <-time.After(50 * time.Millisecond):
		}
		cancel()
		return worker(ctx)
	}))
	if err != nil {
		t.Errorf("Run: %v", err)
	}
}

// README.md says that SIGQUIT, some images' STOPSIGNAL, can be a stop signal.
func TestQuitAsStopSignal(t *testing.T) {
	app := pid1.App{Logger: discard, Signals: []os.Signal{syscall.SIGQUIT}}
	reports := reportOf(&app)
	err := app.Run(t.Context(), pid1.Func(func(ctx context.Context) error { signalSelf(t, syscall.SIGQUIT); return worker(ctx) }))
	if cause := (<-reports).Cause; err != nil || fmt.Sprint(cause) != "received SIGQUIT" {
		t.Errorf("Run: %v, cause %v", err, cause)
	}
}

func TestRefusedStopSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{
		syscall.SIGKILL, syscall.SIGSTOP, // cannot be caught
		syscall.SIGURG, syscall.SIGCHLD, syscall.SIGPIPE, syscall.SIGPROF, // arrive in ordinary operation
	} {
		app := pid1.App{Logger: discard, Signals: []os.Signal{sig}}
		err := app.Run(t.Context(), pid1.Func(func(context.Context) error { t.Errorf("%v: served", sig); return nil }))
		if err == nil || !strings.Contains(err.Error(), "App.Signals[0]") {
			t.Errorf("%v: Run: %v", sig, err)
		}
	}
}

// While OnHangup runs, signals are put together to one more call. Its error is
// logged, and nothing else.
func TestHangupOneAtATime(t *testing.T) {
	caught := make(chan os.Signal, 100)
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)
	log, logged := linesOf(t)
	defer logged.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	entered, release := make(chan bool, 100), make(chan bool, 100)
	var running, calls atomic.Int32
	app := pid1.App{Logger: slog.New(slog.NewTextHandler(logged, nil))}
	app.OnHangup = func(context.Context) error {
		if running.Add(1) > 1 {
			t.Error("two calls at a time")
		}
		defer running.Add(-1)
		calls.Add(1)
		entered <- true
		<-release
		return errors.New("no such certificate")
	}
	err := app.Run(ctx, pid1.Func(func(ctx context.Context) error {
		signalSelf(t, syscall.SIGHUP)
		<-caught
		<-entered
		for range 10 {
			signalSelf(t, syscall.SIGHUP)
			<-caught
		}
		release <- true
		awaitLine(t, log, "no such certificate")
		<-entered
		close(release)
		select { // the App may have learned of the last signals late
		case <-entered:
		case <-time.After(50 * time.Millisecond):
		}
		cancel()
		return worker(ctx)
	}))
	if err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := calls.Load(); n > 4 {
		t.Errorf("%d calls for 11 signals, 10 of which came during the first", n)
	}
}

// Without OnHangup and a Child, SIGHUP is logged, and does nothing else.
func TestHangupIgnored(t *testing.T) {
	log, logged := linesOf(t)
	defer logged.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	app := pid1.App{Logger: slog.New(slog.NewTextHandler(logged, nil))}
	err := app.Run(ctx, pid1.Func(func(ctx context.Context) error {
		signalSelf(t, syscall.SIGHUP)
		awaitLine(t, log, `msg="signal ignored" signal=SIGHUP`)
		cancel()
		return worker(ctx)
	}))
	if err != nil {
		t.Errorf("Run: %v", err)
	}
}

// The default delay is five seconds, or half of the grace.
func TestDelayInKubernetesLasts(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	for grace, want := range map[time.Duration]string{0: "delay=5s", 20 * time.Second: "delay=5s", 4 * time.Second: "delay=2s"} {
		var log bytes.Buffer
		app := pid1.App{Logger: slog.New(slog.NewTextHandler(&log, nil)), Quiet: time.Nanosecond}
		app.Shutdown.Grace = grace
		serve(t, &app, new(http.Server)).stopCleanly()
		if !strings.Contains(log.String(), want) {
			t.Errorf("grace %v: the log does not say %q:\n%s", grace, want, &log)
		}
	}
}

// A delay without Quiet lasts as long as it says.
func TestDelayLasts(t *testing.T) {
	t.Parallel()
	const delay = 300 * time.Millisecond
	app := longGrace()
	app.Delay = delay
	s := serve(t, app, new(http.Server))
	s.stopCleanly()
	if step := s.report().Steps[0]; step.Name != "delay" || step.Took < delay {
		t.Errorf("the first step is %v, want a delay of %v", step, delay)
	}
}

func TestNoDelayWhenJobsAreDone(t *testing.T) {
	app := pid1.App{Logger: discard, Delay: time.Minute}
	app.Shutdown.Grace = time.Hour
	reports := reportOf(&app)
	if err := app.Run(t.Context(), pid1.Job(func(context.Context) error { return nil })); err != nil {
		t.Errorf("Run: %v", err)
	}
	if steps := (<-reports).Steps; slices.ContainsFunc(steps, func(s shutdown.Step) bool { return s.Name == "delay" }) {
		t.Errorf("steps %v", steps)
	}
}

// A Before step that panics after the stop has begun has failed, another has not:
// when it returns at once, and when it is waited for.
func TestBeforeAfterStop(t *testing.T) {
	for name, end := range map[string]func() error{
		"error": func() error { return errors.New("interrupted") },
		"panic": func() error { panic("interrupted") },
	} {
		for _, moment := range []time.Duration{0, 50 * time.Millisecond} {
			ctx, cancel := context.WithCancel(t.Context())
			hook := false
			app := pid1.App{Logger: discard}
			app.Before("step", func(ctx context.Context) error {
				cancel()
				<-ctx.Done()
				time.Sleep(moment)
				return end()
			})
			app.Shutdown.Defer("hook", func(context.Context) error { hook = true; return nil })
			err := app.Run(ctx, pid1.Func(func(context.Context) error { t.Error("served"); return nil }))
			want := map[string]int{"error": 0, "panic": 2}[name]
			if got := pid1.ExitCode(err); got != want || !hook {
				t.Errorf("%s after %v: exit code %d, want %d; hook ran: %v; Run: %v", name, moment, got, want, hook, err)
			}
		}
	}
}

func TestBeforeMisused(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	app := pid1.App{Logger: discard}
	adders := map[string]func(string, func(context.Context) error){"Before": app.Before, "OnReady": app.OnReady, "OnStop": app.OnStop}
	panics := func(kind string, f func(context.Context) error) (text string) {
		defer func() { text = fmt.Sprint(recover()) }()
		adders[kind]("step", f)
		return ""
	}
	for kind := range adders {
		if got, want := panics(kind, nil), fmt.Sprintf("pid1: %s(%q): nil function", kind, "step"); got != want {
			t.Errorf("nil function: panic %q, want %q", got, want)
		}
	}
	_ = app.Run(ended, pid1.Func(worker))
	for _, kind := range []string{"Before", "OnReady"} {
		if got, want := panics(kind, worker), fmt.Sprintf("pid1: %s(%q) called after Run", kind, "step"); got != want {
			t.Errorf("after Run: panic %q, want %q", got, want)
		}
	}
}

// Each step that failed is in the error, and so is what panicked.
func TestErrorsOfSteps(t *testing.T) {
	app := pid1.App{Logger: discard}
	refused := errors.New("refused")
	app.Shutdown.Defer("database", func(context.Context) error { return refused })
	app.Shutdown.Defer("cache", func(context.Context) error { panic("broken") })
	err := app.Run(t.Context(), pid1.Named("mail", pid1.Func(func(context.Context) error { panic("no host") })))
	for _, want := range []string{"mail: panic: no host", `hook "cache": panic: broken`, `hook "database": refused`} {
		if err == nil || strings.Count(err.Error(), want) != 1 {
			t.Errorf("Run: %v, want %q once", err, want)
		}
	}
	var first *shutdown.HookError
	if !errors.As(err, &first) || first.Name != "mail" || first.Panic != "no host" || !errors.Is(err, refused) {
		t.Errorf("Run: %#v", err)
	}
}

// OnReport has returned when Run returns, and its report is complete.
func TestReportBeforeReturn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	app := pid1.App{Logger: discard}
	app.Shutdown.Defer("hook", func(context.Context) error { return nil })
	var report *shutdown.Report
	app.OnReport = func(r *shutdown.Report) {
		time.Sleep(50 * time.Millisecond)
		report = r
	}
	if err := app.Run(ctx, pid1.Named("worker", stopBy(cancel))); err != nil {
		t.Errorf("Run: %v", err)
	}
	if report == nil || len(report.Steps) != 2 || report.Steps[0].Name != "worker" || report.Steps[1].Name != "hook" || report.Cause == nil {
		t.Errorf("the report is %v", report)
	}
}

// signalAfterRunMain gets the stop signal once more when Run has returned, and before
// that while Run waits for a log that blocks.
func signalAfterRunMain() int {
	app := pid1.App{Logger: discard}
	var before time.Time // the end of Run
	app.OnReport = func(*shutdown.Report) {
		before = time.Now()
		if os.Args[1] == "blocks" {
			time.AfterFunc(700*time.Millisecond, func() { syscall.Kill(os.Getpid(), syscall.SIGTERM) })
		}
	}
	if os.Args[1] == "blocks" {
		app.Logger = slog.New(brokenHandler{nil, "blocks"})
	}
	err := app.Run(context.Background(), pid1.Func(func(ctx context.Context) error {
		syscall.Kill(os.Getpid(), syscall.SIGTERM)
		return worker(ctx)
	}))
	if time.Since(before) > 400*time.Millisecond {
		return 0 // the machine has stalled, and nobody catches it any more
	}
	syscall.Kill(os.Getpid(), syscall.SIGTERM)
	time.Sleep(100 * time.Millisecond) // for a runtime that would exit by it
	return pid1.ExitCode(err)
}

func TestSignalAfterRun(t *testing.T) {
	t.Parallel()
	asInitAndNot(t, func(t *testing.T, start starter) {
		for _, log := range []string{"works", "blocks"} {
			if out, err := start(t, "signal after run", log).CombinedOutput(); err != nil {
				t.Errorf("log %s: %v, want exit code 0\n%s", log, err, out)
			}
		}
	})
}

// goroutinePanicsMain has a hook that starts a goroutine which panics.
func goroutinePanicsMain() int {
	app := pid1.App{Logger: discard}
	app.Shutdown.Defer("last", func(context.Context) error { fmt.Println("last"); return nil })
	app.Shutdown.Defer("panics", func(ctx context.Context) error {
		go func() { panic("in a goroutine of a hook") }()
		<-ctx.Done()
		return nil
	})
	_ = app.Run(context.Background(), pid1.Func(func(context.Context) error { return nil }))
	return 0
}

// What nobody can contain: Go ends the process.
func TestGoroutineOfHookPanics(t *testing.T) {
	t.Parallel()
	asInitAndNot(t, func(t *testing.T, start starter) {
		cmd := start(t, "goroutine panics")
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 2 || !bytes.Contains(out, []byte("panic: in a goroutine of a hook")) || bytes.Contains(out, []byte("last\n")) {
			t.Errorf("exit code %d, want 2 and no hook after it\n%s", code, out)
		}
	})
}

// A starter is nstest.Command or nstest.Child.
type starter = func(testing.TB, string, ...string) *exec.Cmd

// asInitAndNot runs f for processes that are PID 1 and for others.
func asInitAndNot(t *testing.T, f func(t *testing.T, start starter)) {
	for name, start := range map[string]starter{"PID 1": nstest.Command, "child": nstest.Child} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, start)
		})
	}
}

// A pod that was never ready does not become so because it is being ended.
func TestNeverReadyInKubernetes(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	app := pid1.App{Delay: 20 * time.Millisecond}
	app.OnReady("register", func(ctx context.Context) error {
		signalSelf(t, syscall.SIGTERM)
		<-ctx.Done()
		return ctx.Err()
	})
	app.OnStop("probe", func(context.Context) error {
		if code, _ := probe(app.ReadyHandler()); code != 503 {
			t.Errorf("the probe's status is %d, want 503", code)
		}
		return nil
	})
	s := run(t, &app, pid1.Func(worker))
	err := <-s.done
	report := flat(s.report().Steps)
	steps := strings.TrimPrefix(report, "OnReady register ") // unless it ends before the stop runs
	if err != nil || steps != "probe delay worker" {
		t.Errorf("Run: %v, report %q", err, report)
	}
}
