// SPDX-License-Identifier: MIT

package shutdown_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

var background = context.Background()

// quiet is a pipeline with a grace of 10s that logs nothing: 9.5s are usable,
// 500 ms are reserved for each hook, and for one that comes meanwhile.
func quiet() *shutdown.Pipeline {
	return &shutdown.Pipeline{Grace: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)}
}

func nothing(context.Context) error { return nil }

func obey(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func lasting(d time.Duration) function {
	return func(ctx context.Context) error { return sleep(ctx, d) }
}

// hanging returns a hook that ignores its context until the test ends.
func hanging(t *testing.T) function {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	return func(context.Context) error { <-release; return nil }
}

func names(steps []shutdown.Step) string {
	var names []string
	for _, s := range steps {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

func TestRunOrder(t *testing.T) {
	p := quiet()
	p.Defer("first", nothing)
	p.DeferLast("bottom", nothing)
	p.Defer("second", func(context.Context) error {
		p.Defer("inside", nothing)
		p.DeferLast("new bottom", nothing)
		p.Add(shutdown.Hook{Name: "inside, later", Func: nothing})
		return nil
	})
	p.Defer("third", nothing)

	r := p.Run(background,
		shutdown.Hook{Name: "delay", Func: func(context.Context) error {
			p.Defer("in the delay", nothing)
			return nil
		}},
		shutdown.Hook{Name: "servers", Func: nothing})
	if got, want := names(r.Steps), "delay servers in the delay third second inside, later inside first bottom new bottom"; got != want {
		t.Errorf("order is %q, want %q", got, want)
	}
	if err := r.Err(); err != nil {
		t.Errorf("Err is %v", err)
	}
}

func TestRunWithoutHooks(t *testing.T) {
	r := quiet().Run(background)
	if len(r.Steps) != 0 || r.Err() != nil || r.Grace != 10*time.Second {
		t.Errorf("report is %+v", r)
	}
}

func TestOutcome(t *testing.T) {
	refused := errors.New("refused")
	for _, test := range []struct {
		name  string
		f     function
		state shutdown.State
		is    error
		text  string
	}{
		{"nil", nothing, shutdown.OK, nil, ""},
		{"error", func(context.Context) error { return refused },
			shutdown.Failed, refused, `shutdown: hook "error": refused`},
		{"panic", func(context.Context) error { panic("broken") },
			shutdown.Panicked, nil, `shutdown: hook "panic": panic: broken`},
		{"panic with an error", func(context.Context) error { panic(refused) },
			shutdown.Panicked, refused, `shutdown: hook "panic with an error": panic: refused`},
		{"panic with nil", func(context.Context) error { panic(nil) },
			shutdown.Panicked, nil, `shutdown: hook "panic with nil": panic: panic called with nil argument`},
		{"goexit", func(context.Context) error { runtime.Goexit(); return nil },
			shutdown.Failed, nil, `shutdown: hook "goexit": ended by runtime.Goexit, without returning`},
		{"overrun", obey,
			shutdown.Failed, context.DeadlineExceeded, `shutdown: hook "overrun": context deadline exceeded`},
		{"overrun with its cause", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
			shutdown.Failed, context.DeadlineExceeded,
			`shutdown: hook "overrun with its cause": shutdown: the budget of "overrun with its cause", 9s, is used up`},
		{"overrun, but done", func(ctx context.Context) error { <-ctx.Done(); return nil }, shutdown.OK, nil, ""},
		{"settles", func(ctx context.Context) error { <-ctx.Done(); time.Sleep(9 * time.Millisecond); return refused },
			shutdown.Failed, refused, `shutdown: hook "settles": refused`},
		{"ignores", func(ctx context.Context) error { time.Sleep(time.Hour); return nil },
			shutdown.Stuck, context.DeadlineExceeded,
			`shutdown: hook "ignores": ignored the end of its context: still running after 9s of 9s, left behind`},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := quiet()
				p.Defer(test.name, test.f)
				s := p.Run(background).Steps[0]
				if s.State != test.state {
					t.Errorf("state is %v, want %v", s.State, test.state)
				}
				text := ""
				if s.Err != nil {
					text = s.Err.Error()
				}
				if text != test.text {
					t.Errorf("error is\n%s, want\n%s", text, test.text)
				}
				if test.is != nil && !errors.Is(s.Err, test.is) {
					t.Errorf("%v is not %v", s.Err, test.is)
				}
				time.Sleep(2 * time.Hour) // for the one left behind
			})
		})
	}
}

// A HookError has what a person needs who was not there.
func TestHookError(t *testing.T) {
	p := quiet()
	value := struct{ n int }{1}
	p.Defer("breaks", func(context.Context) error { return breaks(value) })
	p.Defer("fails", func(context.Context) error { return errors.New("refused") })

	err := p.Run(background).Err()
	if got, want := err.Error(), "shutdown: hook \"fails\": refused\nshutdown: hook \"breaks\": panic: {1}"; got != want {
		t.Errorf("error is\n%s\nwant\n%s", got, want)
	}
	var first *shutdown.HookError
	if !errors.As(err, &first) || first.Name != "fails" || first.Panic != nil || first.Stack != nil {
		t.Errorf("the first error is %#v", first)
	}
	broken := err.(interface{ Unwrap() []error }).Unwrap()[1].(*shutdown.HookError)
	if broken.Name != "breaks" || broken.Panic != value {
		t.Errorf("the second error is %#v", broken)
	}
	lines := strings.Split(string(broken.Stack), "\n")
	if !strings.HasPrefix(lines[0], "goroutine ") || !strings.HasPrefix(lines[1], "panic(") || !strings.Contains(lines[3], "breaks") {
		t.Errorf("the stack begins\n%s", broken.Stack)
	}
}

// A hook may return anything that is an error.
func TestStrangeErrors(t *testing.T) {
	inner := quiet()
	inner.Defer("not run", nothing)
	ended, cancel := context.WithCancel(background)
	cancel()

	var none *shutdown.HookError
	var fragile *fragileError
	for _, test := range []struct {
		err   error
		state shutdown.State
		want  string
	}{
		{none, shutdown.Failed, "<nil>"},
		{&shutdown.HookError{}, shutdown.Failed, "<nil>"},
		{fragile, shutdown.Panicked, "<nil> (panic: runtime error: invalid memory address or nil pointer dereference)"},
		{inner.Run(ended).Err(), shutdown.Failed, `shutdown: hook "not run": skipped: the shutdown was forced: context canceled`},
	} {
		p := quiet()
		p.Defer("hook", func(context.Context) error { return test.err })
		r := p.Run(background)
		want := `shutdown: hook "hook": ` + test.want
		if s := r.Steps[0]; s.State != test.state || s.Err.Error() != want {
			t.Errorf("%v, error %q, want %q", s, s.Err, want)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
	}
}

// fragileError does not expect to be nil.
type fragileError struct{ text string }

func (e *fragileError) Error() string   { return e.text }
func (e *fragileError) Unwrap() []error { return []error{errors.New(e.text)} }

func breaks(v any) error { panic(v) }

// The stack of a Stuck hook has all of its goroutines and no others.
func TestStuckStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := quiet()
		p.Defer("two", func(context.Context) error { hangTwo(release); return nil })
		p.Defer("one", func(ctx context.Context) error {
			for range 3 {
				go hangOneMore(release)
			}
			var inner shutdown.Pipeline // its hooks are goroutines of this one
			inner.Logger = p.Logger
			inner.Grace = time.Hour
			inner.Defer("inner", func(context.Context) error { hangInner(release); return nil })
			go inner.Run(ctx)
			hangOne(release)
			return nil
		})

		r := p.Run(background)
		close(release)

		all := []string{"hangOneMore", "hangOne", "hangTwo", "hangInner", "(*Pipeline).Run", "TestStuckStack"}
		for i, want := range [][]string{
			{"hangOneMore", "hangOne", "hangInner", "(*Pipeline).Run"},
			{"hangTwo"},
		} {
			var e *shutdown.HookError
			if !errors.As(r.Steps[i].Err, &e) {
				t.Fatalf("step %d: %v", i, r.Steps[i])
			}
			stack := string(e.Stack)
			for _, function := range all {
				if got, want := countIn(function, stack) > 0, slices.Contains(want, function); got != want {
					t.Errorf("step %d: %q is in the stack: %v, want %v\n%s", i, function, got, want, stack)
				}
			}
			if n := []int{3, 1}[i]; countIn("hangOneMore", stack)+countIn("hangTwo", stack) != n {
				t.Errorf("step %d: want %d alike, got\n%s", i, n, stack)
			}
			if strings.Contains(stack, "(*task).run") {
				t.Errorf("the stack has what calls a hook:\n%s", stack)
			}
		}
	})
}

// countIn is how many goroutines are in the function.
func countIn(function, stack string) int { return strings.Count(stack, "."+function+"(") }

func hangOne(release chan struct{})     { <-release }
func hangOneMore(release chan struct{}) { <-release }
func hangTwo(release chan struct{})     { <-release }
func hangInner(release chan struct{})   { <-release }

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := quiet()
		p.Grace, p.Reserve = 20*time.Second, 2*time.Second // 19s are usable
		p.Defer("last", obey)
		p.Defer("short", lasting(time.Second))
		p.Defer("stuck", hanging(t))
		p.Add(shutdown.Hook{Name: "tight", Func: obey, Timeout: 3 * time.Second})
		p.Defer("first", lasting(4*time.Second))

		r := p.Run(background)
		for i, want := range []struct{ start, took, budget time.Duration }{
			{0, 4 * time.Second, 9 * time.Second},                                   // 19 − 5×2: one more for a hook that comes meanwhile
			{4 * time.Second, 3 * time.Second, 3 * time.Second},                     // Timeout, of 19 − 4 − 4×2 = 7
			{7 * time.Second, 6*time.Second + 10*time.Millisecond, 6 * time.Second}, // 19 − 7 − 3×2; settling costs the next nothing
			{13010 * time.Millisecond, time.Second, 2 * time.Second},
			{14010 * time.Millisecond, 2990 * time.Millisecond, 2990 * time.Millisecond}, // 19 − 14.01 − 2
		} {
			s := r.Steps[i]
			if s.Start != want.start || s.Took != want.took || s.Budget != want.budget {
				t.Errorf("%s: at %v, took %v of %v; want at %v, %v of %v",
					s.Name, s.Start, s.Took, s.Budget, want.start, want.took, want.budget)
			}
		}
	})
}

// The example in the package's documentation.
func TestBudgetOfThree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := quiet()
		p.Grace = 30 * time.Second
		p.Defer("third", obey)
		p.Defer("second", obey)
		p.Defer("first", obey)
		r := p.Run(background)
		if got, want := r.Steps[0].Budget, 24*time.Second; got != want {
			t.Errorf("the first hook has %v, want %v", got, want)
		}
		// Those that use all that they have leave the next one its Reserve, and what
		// is kept for one that may be added.
		for _, s := range r.Steps[1:] {
			if s.Budget < 1500*ms {
				t.Errorf("%v, want 1.5s at least", s)
			}
		}
		if r.Took > 28500*ms {
			t.Errorf("took %v, want what is usable at most", r.Took)
		}
	})
}

// A hook that the last one defers has time to settle, whatever that one took.
func TestDeferWhileStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := quiet()
		p.Grace, p.Reserve = time.Second, 5*time.Millisecond
		hang := hanging(t)
		p.Defer("last", func(ctx context.Context) error {
			p.Defer("deferred meanwhile", func(ctx context.Context) error {
				<-ctx.Done()
				sleep(background, time.Millisecond) // of fake time, to settle
				return ctx.Err()
			})
			return hang(ctx)
		})
		steps := p.Run(background).Steps
		if got := []shutdown.State{steps[0].State, steps[1].State}; !slices.Equal(got, []shutdown.State{shutdown.Stuck, shutdown.Failed}) {
			t.Errorf("states are %v", got)
		}
	})
}

// When more is reserved than there is, all hooks get the same share.
func TestReserveDoesNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := quiet()
		p.Reserve = 4 * time.Second
		for range 4 {
			p.Defer("hook", obey)
		}
		r := p.Run(background)
		for _, s := range r.Steps {
			if want := 9500 * time.Millisecond / 4; s.Budget != want || s.Took != want {
				t.Errorf("%v, want %v", s, want)
			}
		}
	})
}

func TestContext(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.WithValue(background, key{}, "value"), time.Hour)
		defer cancel()
		p := quiet()
		begin := time.Now()
		p.Defer("hook", func(ctx context.Context) error {
			if got := ctx.Value(key{}); got != "value" {
				t.Errorf("value is %v", got)
			}
			if end, ok := ctx.Deadline(); !ok || end.Sub(begin) != 9*time.Second {
				t.Errorf("deadline is after %v, %v", end.Sub(begin), ok)
			}
			<-ctx.Done()
			if got, want := context.Cause(ctx).Error(), `shutdown: the budget of "hook", 9s, is used up`; got != want {
				t.Errorf("cause is %q, want %q", got, want)
			}
			if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				t.Error("cause is not DeadlineExceeded")
			}
			return nil
		})
		p.Run(ctx)
	})
}

// A hook's context has its deadline from the budget, not from Run's context.
func TestContextOutlivesRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		p := quiet()
		p.Defer("hook", func(hook context.Context) error {
			if end, ok := hook.Deadline(); !ok || time.Until(end) != 9*time.Second {
				t.Errorf("deadline is in %v, %v", time.Until(end), ok)
			}
			return nil
		})
		p.Run(ctx)
	})
}

func TestForced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		again := errors.New("second signal")
		ctx, cancel := context.WithCancelCause(background)
		time.AfterFunc(time.Second, func() { cancel(again) })

		p := quiet()
		p.Defer("never", nothing)
		p.Defer("running", func(ctx context.Context) error {
			<-ctx.Done()
			p.Defer("too late", nothing)
			return context.Cause(ctx)
		})
		r := p.Run(ctx)

		if !r.Forced || r.Took != time.Second {
			t.Errorf("forced: %v, took %v", r.Forced, r.Took)
		}
		if got, want := names(r.Steps), "running too late never"; got != want {
			t.Errorf("steps are %q, want %q", got, want)
		}
		for _, s := range r.Steps {
			if !errors.Is(s.Err, again) || s.State != shutdown.Failed && s.State != shutdown.Skipped {
				t.Errorf("%v: %v", s, s.Err)
			}
			if (s.Budget == 0) != (s.State == shutdown.Skipped) {
				t.Errorf("%v has a budget of %v", s, s.Budget)
			}
		}
	})
}

func TestForcedWhileStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		p := quiet()
		p.Defer("never", nothing)
		p.Defer("hangs", shutdown.Parallel(shutdown.Hook{Name: "member", Func: hanging(t), Timeout: 5 * time.Second}))
		r := p.Run(ctx)
		// The member is given up on first.
		if r.Took != 1090*ms || !r.Forced {
			t.Errorf("took %v, want less than 100 ms after the force; forced: %v", r.Took, r.Forced)
		}
		if s := r.Steps[0]; s.State != shutdown.Stuck || s.Members[0].State != shutdown.Stuck {
			t.Errorf("steps are %v, members %v", r.Steps, s.Members)
		}
		time.Sleep(time.Minute) // the Timeout passes, and changes nothing
		if s := r.Steps[0]; s.Took != 1090*ms || s.Members[0].Took != 1090*ms {
			t.Errorf("steps are %v, members %v", r.Steps, s.Members)
		}
	})
}

// What is forced and does not return has 100 ms.
func TestForcedHasMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		p := quiet()
		p.Defer("never", nothing)
		p.Defer("hangs", hanging(t))
		if r := p.Run(ctx); r.Took != 1100*ms || r.Steps[0].State != shutdown.Stuck || r.Steps[1].State != shutdown.Skipped {
			t.Error(r)
		}
		p = quiet()
		p.Defer("takes a moment", func(ctx context.Context) error { <-ctx.Done(); time.Sleep(99 * ms); return nil })
		ctx, cancel = context.WithTimeout(background, time.Second)
		defer cancel()
		if r := p.Run(ctx); r.Took != 1099*ms || r.Steps[0].State != shutdown.OK || !r.Forced {
			t.Error(r)
		}
	})
}

func TestRunWithDeadContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(background)
	cancel(errors.New("SIGTERM"))
	var log bytes.Buffer
	p := quiet()
	p.Logger = slog.New(slog.NewTextHandler(&log, nil))
	p.Defer("hook", nothing)
	r := p.Run(ctx)
	if !r.Forced || names(r.Steps) != "hook" || r.Steps[0].State != shutdown.Skipped {
		t.Errorf("forced: %v, steps: %v", r.Forced, r.Steps)
	}
	for _, want := range []string{"level=ERROR", "pass context.Background()", "SIGTERM"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log has no %q:\n%s", want, log.String())
		}
	}
}

func TestNilFunc(t *testing.T) {
	for want, f := range map[string]func(){
		`shutdown: hook "add" has no Func`:          func() { new(shutdown.Pipeline).Add(shutdown.Hook{Name: "add"}) },
		`shutdown: hook "defer" has no Func`:        func() { new(shutdown.Pipeline).Defer("defer", nil) },
		`shutdown: hook "last" has no Func`:         func() { new(shutdown.Pipeline).DeferLast("last", nil) },
		`shutdown: Parallel: hook "2" has no Func`:  func() { shutdown.Parallel(shutdown.Hook{Func: nothing}, shutdown.Hook{}) },
		`shutdown: Parallel: hook "db" has no Func`: func() { shutdown.Parallel(shutdown.Hook{Name: "db"}) },
		`shutdown: Within(1s, nil): no function`:    func() { shutdown.Within(time.Second, nil) },
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("panic is %v, want %v", got, want)
				}
			}()
			f()
		}()
	}
}

// A hook deferred after the end runs at once, contained, with its Reserve.
func TestDeferAfterEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := quiet()
		p.Logger = slog.New(slog.NewTextHandler(&log, nil))
		r := p.Run(background)

		begin := time.Now()
		p.Defer("late", func(ctx context.Context) error {
			p.Defer("later", func(context.Context) error { panic("broken") })
			return obey(ctx)
		})
		if took := time.Since(begin); took != 500*time.Millisecond {
			t.Errorf("took %v, want the Reserve", took)
		}
		p.Defer("hangs", hanging(t))
		if len(r.Steps) != 0 {
			t.Errorf("steps are %v", r.Steps)
		}
		for _, want := range []string{"step=late state=failed", "step=later state=panicked", "step=hangs state=stuck"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log has no %q:\n%s", want, log.String())
			}
		}
	})
}

func TestDeferConcurrently(t *testing.T) {
	const n = 1000
	p := quiet()
	p.Grace, p.Reserve = time.Hour, 500*time.Millisecond // no hook is given up on, on no machine
	var mu sync.Mutex
	ran := 0
	count := func(context.Context) error { mu.Lock(); defer mu.Unlock(); ran++; return nil }
	var all sync.WaitGroup
	start := make(chan struct{})
	for range 4 {
		all.Go(func() {
			<-start
			for range n {
				p.Defer("hook", count)
			}
		})
	}
	close(start)
	p.Run(background)
	all.Wait()
	if ran != 4*n {
		t.Errorf("%d of %d hooks ran", ran, 4*n)
	}
}

func TestRunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := quiet()
		p.Defer("slow", lasting(time.Second))
		begin := time.Now()
		reports := make(chan *shutdown.Report)
		for range 3 {
			go func() { reports <- p.Run(background) }()
		}
		first := <-reports
		if took := time.Since(begin); took != time.Second {
			t.Errorf("the first that returned took %v", took)
		}
		ended, cancel := context.WithCancel(background)
		cancel()
		again := p.Run(ended, shutdown.Hook{Name: "ignored", Func: func(context.Context) error { t.Error("run"); return nil }})
		second, third := <-reports, <-reports
		if second != first || third != first || again != first || first.Forced {
			t.Error("Run returned different reports")
		}
		if len(first.Steps) != 1 {
			t.Errorf("steps are %v", first.Steps)
		}
	})
}

// A hook that calls Run waits for itself. It does not keep the hooks after it.
func TestRunInsideHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := quiet()
		var inner *shutdown.Report
		p.Defer("last", nothing)
		p.Defer("runs", func(context.Context) error { inner = p.Run(background); return nil })
		r := p.Run(background)
		if s := r.Steps[0]; s.State != shutdown.Stuck || s.Took != s.Budget+10*ms || r.Steps[1].State != shutdown.OK {
			t.Error(r)
		}
		synctest.Wait()
		if inner != r {
			t.Errorf("the Run inside returned %v", inner)
		}
	})
}

// records is a slog.Handler that keeps the records.
type records struct {
	mu   sync.Mutex
	text []string
}

func (r *records) Enabled(context.Context, slog.Level) bool { return true }
func (r *records) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *records) WithGroup(string) slog.Handler            { return r }
func (r *records) Handle(_ context.Context, record slog.Record) error {
	text := fmt.Sprintf("%v %s", record.Level, record.Message)
	record.Attrs(func(a slog.Attr) bool {
		if a.Key == "stack" {
			a.Value = slog.StringValue("…")
		}
		text += " " + a.String()
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, text)
	return nil
}

func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log records
		p := quiet()
		p.Logger = slog.New(&log)
		p.Defer("hangs", hanging(t))
		p.Add(shutdown.Hook{Name: "limited", Func: lasting(300 * time.Millisecond), Timeout: time.Second})
		p.Defer("both", shutdown.Parallel(
			shutdown.Hook{Name: "db", Func: lasting(3 * time.Second)},
			shutdown.Hook{Name: "cache", Func: nothing}))
		p.Defer("fails", func(context.Context) error { return errors.New("refused") })
		p.Defer("quick", nothing)
		p.Run(background)
		want := []string{
			"INFO shutdown: step ended step=quick state=ok took=0s budget=7s",
			`ERROR shutdown: step ended step=fails state=failed took=0s budget=7.5s error=shutdown: hook "fails": refused`,
			"INFO shutdown: step still runs step=both after=1s budget=8s",
			"INFO shutdown: step still runs step=db after=1s budget=8s",
			"INFO shutdown: step ended step=both state=ok took=3s budget=8s",
			"INFO shutdown: step still runs step=limited after=250ms budget=1s",
			"INFO shutdown: step ended step=limited state=ok took=300ms budget=1s",
			"INFO shutdown: step still runs step=hangs after=1s budget=5.7s",
			`ERROR shutdown: step ended step=hangs state=stuck took=5.71s budget=5.7s ` +
				`error=shutdown: hook "hangs": ignored the end of its context: still running after 5.7s of 5.7s, left behind stack=…`,
		}
		slices.SortStableFunc(log.text[2:4], cmp.Compare) // at the same moment
		if !slices.Equal(log.text, want) {
			t.Errorf("log is\n%s\nwant\n%s", strings.Join(log.text, "\n"), strings.Join(want, "\n"))
		}
	})
}

// With the clock of the machine the same happens.
func TestRealTime(t *testing.T) {
	p := quiet()
	p.Add(shutdown.Hook{Name: "hangs, too", Func: hanging(t), Timeout: 200 * ms})
	p.Defer("ok", nothing)
	p.Add(shutdown.Hook{Name: "obeys", Func: obey, Timeout: 200 * ms})
	p.Add(shutdown.Hook{Name: "hangs", Func: hanging(t), Timeout: 200 * ms})
	begin := time.Now()
	r := p.Run(background)
	if took := time.Since(begin); took >= p.Grace {
		t.Errorf("took %v", took)
	}
	if r.Steps[0].State != shutdown.Stuck || r.Steps[2].State != shutdown.OK || r.Steps[3].State != shutdown.Stuck {
		t.Error(r)
	}
	if s := r.Steps[1]; s.State != shutdown.Failed && s.State != shutdown.Stuck { // Stuck on a very busy machine
		t.Error(r)
	}
}
