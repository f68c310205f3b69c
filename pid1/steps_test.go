// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// status returns that of a request without keep-alive, 0 if it is refused.
func status(url string) int {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// The steps of OnReady run when the servers serve, and before the App is ready.
func TestOnReady(t *testing.T) {
	var d diary
	var app pid1.App
	addr := make(chan net.Addr, 1)
	mux := http.NewServeMux()
	mux.Handle("/readyz", app.ReadyHandler())
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	app.OnReady("one", func(ctx context.Context) error {
		url := "http://" + (<-addr).String()
		if got, ready := status(url), status(url+"/readyz"); got != 200 || ready != 503 || app.Ready() {
			t.Errorf("status %d, of the probe %d, Ready %v; want 200, 503, false", got, ready, app.Ready())
		}
		d.write("one")
		return nil
	})
	app.OnReady("two", func(context.Context) error { d.write("two"); return nil })
	s := run(t, &app, &http.Server{Addr: "127.0.0.1:0", Handler: mux, BaseContext: tell(addr)})
	<-stopWhenReady(&app)
	d.want(t, "one", "two")
	s.stopCleanly()
}

// A step that fails ends the App: without a delay, since nobody was sent here yet.
func TestOnReadyFails(t *testing.T) {
	boom := errors.New("boom")
	for name, step := range map[string]func(context.Context) error{
		"error": func(context.Context) error { return boom },
		"panic": func(context.Context) error { panic(boom) },
	} {
		t.Run(name, func(t *testing.T) {
			var d diary
			app := pid1.App{Delay: 30 * time.Second, Shutdown: shutdown.Pipeline{Grace: time.Minute}}
			app.OnReady("register", step)
			app.OnReady("never", func(context.Context) error { d.write("never"); return nil })
			app.OnStop("bye", func(context.Context) error { d.write("bye"); return nil })
			app.Shutdown.Defer("hook", func(context.Context) error { d.write("hook"); return nil })
			s := run(t, &app, d.member("worker"))
			err := <-s.done
			if !errors.Is(err, boom) || !strings.Contains(err.Error(), `OnReady "register"`) {
				t.Errorf("Run: %v", err)
			}
			if code, want := pid1.ExitCode(err), map[string]int{"error": 1, "panic": 2}[name]; code != want {
				t.Errorf("exit code %d, want %d", code, want)
			}
			d.want(t, "bye", "worker stops", "worker stopped", "hook")
		})
	}
}

// A stop before the App is ready has a delay if a step of OnReady has succeeded, which
// may have registered the service.
func TestOnReadyThenDelay(t *testing.T) {
	app := pid1.App{Delay: 20 * time.Millisecond}
	app.OnReady("register", func(context.Context) error { return nil })
	app.OnReady("warm", func(context.Context) error { return errors.New("boom") })
	s := run(t, &app, pid1.Func(worker))
	if err := <-s.done; err == nil || flat(s.report().Steps) != "delay worker" {
		t.Errorf("Run: %v, report %q; want an error, and a delay", err, flat(s.report().Steps))
	}
}

// A stop interrupts a step, and what undoes it waits for its end. There is a delay:
// nobody knows how far the step has come.
func TestOnReadyInterrupted(t *testing.T) {
	var d diary
	app := pid1.App{Delay: 20 * time.Millisecond, Shutdown: shutdown.Pipeline{Grace: time.Minute}}
	begun := make(chan struct{})
	app.OnReady("register", func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		time.Sleep(20 * time.Millisecond)
		d.write("registered")
		return ctx.Err()
	})
	app.OnStop("deregister", func(context.Context) error { d.write("deregistered"); return nil })
	s := run(t, &app, d.member("worker"))
	<-begun
	s.stopCleanly()
	d.want(t, "registered", "deregistered", "worker stops", "worker stopped")
	if got := flat(s.report().Steps); got != "OnReady register deregister delay worker" {
		t.Errorf("report %q", got)
	}
}

// The steps of OnStop run last in first out, before the delay, while the servers
// serve; one that is added too late is a hook.
func TestOnStop(t *testing.T) {
	var d diary
	app := pid1.App{Delay: 20 * time.Millisecond}
	app.OnStop("first", func(context.Context) error {
		app.OnStop("late", func(context.Context) error { d.write("late"); return nil })
		d.write("first")
		return nil
	})
	var url string
	app.OnStop("second", func(context.Context) error {
		if got := status(url); got != 200 || app.Ready() {
			t.Errorf("status %d, Ready %v; want 200, false", got, app.Ready())
		}
		d.write("second")
		return nil
	})
	app.Shutdown.Defer("hook", func(context.Context) error { d.write("hook"); return nil })
	s := serve(t, &app, &http.Server{Handler: answer("hello")})
	url = "http://" + s.addr
	s.stopCleanly()
	d.want(t, "second", "first", "late", "hook")
	if got, want := flat(s.report().Steps), "second first delay http "; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "late hook") {
		t.Errorf("report %q, want %q … late hook", got, want)
	}
}

// Steps that hang or panic take nothing from those after them, and little from the
// requests in flight.
func TestOnStopHangs(t *testing.T) {
	t.Parallel()
	release, begun := make(chan struct{}), make(chan struct{})
	defer close(release)
	app := pid1.App{Shutdown: shutdown.Pipeline{Grace: 20 * time.Second}}
	ran := false
	app.OnStop("runs", func(context.Context) error { ran = true; return nil })
	app.OnStop("panics", func(context.Context) error { panic("boom") })
	app.OnStop("hangs", func(context.Context) error { <-release; return nil })
	s := serve(t, &app, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-app.Stopping()
		select {
		case <-time.After(time.Second):
		case <-r.Context().Done():
			w.WriteHeader(500)
		}
	})})
	w := dial(t, s.addr)
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-begun
	took, err := s.stop()
	if res, _ := w.response(); res.StatusCode != 200 {
		t.Errorf("the request in flight: %s", res.Status)
	}
	if got := flat(s.report().Steps); !ran || !strings.HasPrefix(got, "hangs=stuck panics=panicked runs http") {
		t.Errorf("ran %v, report %q", ran, got)
	}
	if pid1.ExitCode(err) != 2 {
		t.Errorf("Run: %v after %v, want the exit code of a panic", err, took)
	}
}

// OnStop runs also when the start failed: what was taken before Run is given back.
func TestOnStopAfterFailedStart(t *testing.T) {
	released := false
	app := pid1.App{Logger: discard}
	app.Before("lease", func(context.Context) error {
		app.OnStop("lease", func(context.Context) error { released = true; return nil })
		return nil
	})
	app.Before("fails", func(context.Context) error { return errors.New("boom") })
	if err := app.Run(t.Context(), pid1.Func(worker)); err == nil || !released {
		t.Errorf("Run: %v, released: %v; want an error and true", err, released)
	}
}

// The budget of the steps of OnStop is part of the plan.
func TestOnStopInPlan(t *testing.T) {
	app := pid1.App{Logger: discard, Shutdown: shutdown.Pipeline{Grace: time.Second, Reserve: 300 * time.Millisecond}}
	for range 3 {
		app.OnStop("step", func(context.Context) error { return nil })
	}
	if err := app.Run(t.Context(), pid1.Func(worker)); err == nil || !strings.Contains(err.Error(), "4 hooks") {
		t.Errorf("Run: %v, want that 4 hooks do not fit", err)
	}
}

// A hook that was left behind may ask for the report while Run returns (for the race
// detector).
func TestReportFromLeftBehind(t *testing.T) {
	var app pid1.App
	app.Shutdown.Grace = time.Minute
	over, left := make(chan struct{}), make(chan struct{})
	app.Shutdown.Add(shutdown.Hook{Name: "stuck", Timeout: time.Millisecond, Func: func(ctx context.Context) error {
		defer close(left)
		for {
			if cause := shutdown.ReportFrom(ctx).Cause; cause != errStop {
				t.Errorf("cause %v, want %v", cause, errStop)
			}
			select {
			case <-over:
				return nil
			default:
			}
		}
	}})
	s := run(t, &app, pid1.Func(worker))
	s.stop()
	close(over)
	<-left
	if s.report().Cause != errStop {
		t.Errorf("cause %v, want %v", s.report().Cause, errStop)
	}
}

// The grace counts from when the stop begins, not from when its first step does:
// here an error whose text does not come takes a tenth of a second before that.
func TestGraceCountsFromTheStop(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/no/such/socket")
	const grace = time.Second
	release := make(chan struct{})
	defer close(release)
	app := pid1.App{Logger: discard, Shutdown: shutdown.Pipeline{Grace: grace}}
	began := make(chan time.Time, 1)
	app.Shutdown.Defer("hook", func(ctx context.Context) error {
		if end, latest := deadline(ctx), (<-began).Add(grace); end.After(latest.Add(-grace / 20)) {
			t.Errorf("the hook has until %v before the end of the grace, want a twentieth", latest.Sub(end))
		}
		return nil
	})
	s := run(t, &app, pid1.Func(func(context.Context) error { return textlessError{release} }))
	<-app.Stopping()
	began <- time.Now()
	<-s.done
	if start := s.report().Steps[0].Start; start < 100*time.Millisecond {
		t.Errorf("the first step began %v after the stop: the test is void", start)
	}
}

// A textlessError has no text until it is released.
type textlessError struct{ release <-chan struct{} }

func (e textlessError) Error() string { <-e.release; return "late" }

// A grace that cannot be used is replaced by the default, and that is what the log
// says of the stop.
func TestGraceSourceAfterInvalid(t *testing.T) {
	t.Setenv("SHUTDOWN_GRACE", "soon")
	var log bytes.Buffer
	app := pid1.App{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	err := app.Run(t.Context(), pid1.Func(worker))
	if want := `grace=10s grace_source="assumed: Docker"`; err == nil || !strings.Contains(log.String(), want) {
		t.Errorf("Run: %v, the log does not say %s:\n%s", err, want, &log)
	}
}

// A panic in a step of Before or OnReady that the stop has interrupted is one in the
// report, with its stack, and in the exit code.
func TestInterruptedStepPanics(t *testing.T) {
	for _, where := range []string{"Before", "OnReady"} {
		t.Run(where, func(t *testing.T) {
			begun, stopping := make(chan struct{}), make(chan struct{})
			app := pid1.App{Logger: slog.New(onMessage{slog.DiscardHandler, "stopping", func() { close(stopping) }})}
			app.Shutdown.Logger, app.Shutdown.Grace = discard, time.Minute
			panics := func(context.Context) error {
				close(begun)
				<-stopping // the stop has taken over the step
				panicInStep()
				return nil
			}
			if where == "Before" {
				app.Before("step", panics)
			} else {
				app.OnReady("step", panics)
			}
			s := run(t, &app, pid1.Func(worker))
			<-begun
			_, err := s.stop()
			if code := pid1.ExitCode(err); code != 2 {
				t.Errorf("exit code %d, want 2: %v", code, err)
			}
			var e *shutdown.HookError
			if step := s.report().Steps[0]; step.State != shutdown.Panicked || !errors.As(step.Err, &e) ||
				e.Panic != "boom" || !strings.Contains(string(e.Stack), "panicInStep") {
				t.Errorf("%v: %v; want it panicked, with the stack", step, step.Err)
			}
		})
	}
}

func panicInStep() { panic("boom") }

// onMessage is a log handler that calls f for records with this message.
type onMessage struct {
	slog.Handler
	message string
	f       func()
}

func (h onMessage) Enabled(context.Context, slog.Level) bool { return true }
func (h onMessage) Handle(_ context.Context, r slog.Record) error {
	if r.Message == h.message {
		h.f()
	}
	return nil
}
