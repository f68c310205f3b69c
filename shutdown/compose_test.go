// SPDX-License-Identifier: MIT

package shutdown_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

func TestParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		p := quiet()
		p.Defer("stores", shutdown.Parallel(
			shutdown.Hook{Func: lasting(time.Second)},
			shutdown.Hook{Name: "db", Func: func(context.Context) error { time.Sleep(time.Second); return refused }},
			shutdown.Hook{Name: "cache", Func: func(context.Context) error { panic("broken") }},
			shutdown.Hook{Func: func(context.Context) error { runtime.Goexit(); return nil }},
			shutdown.Hook{Func: shutdown.Within(time.Hour, shutdown.Parallel(
				shutdown.Hook{Name: "nothing", Func: nothing}, shutdown.Hook{Name: "inner", Func: obey}))},
			shutdown.Hook{Name: "short", Func: obey, Timeout: 2 * time.Second},
		))
		s := p.Run(background).Steps[0]

		if s.Took != 9*time.Second || s.State != shutdown.Panicked {
			t.Errorf("%v", s)
		}
		var got []string
		for _, m := range s.Members {
			got = append(got, m.String())
			for _, m := range m.Members {
				got = append(got, "  "+m.String())
			}
		}
		want := []string{
			"1: ok, 1s of 9s",
			"db: failed, 1s of 9s",
			"cache: panicked, 0s of 9s",
			"4: failed, 0s of 9s",
			"5: failed, 9s of 9s",
			"  nothing: ok, 0s of 9s",
			"  inner: failed, 9s of 9s",
			"short: failed, 2s of 2s",
		}
		if got, want := strings.Join(got, "\n"), strings.Join(want, "\n"); got != want {
			t.Errorf("members are\n%s\nwant\n%s", got, want)
		}
		text := `shutdown: hook "stores": db: refused
cache: panic: broken
4: ended by runtime.Goexit, without returning
5: inner: context deadline exceeded
short: context deadline exceeded`
		if s.Err.Error() != text {
			t.Errorf("error is\n%v\nwant\n%s", s.Err, text)
		}
		var e *shutdown.HookError
		if !errors.Is(s.Err, refused) || !errors.As(s.Err, &e) || e.Panic != "broken" || !strings.Contains(string(e.Stack), "TestParallel") {
			t.Errorf("error is %#v", s.Err)
		}
	})
}

func TestParallelStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		p := quiet()
		p.Defer("both", shutdown.Parallel(
			shutdown.Hook{Name: "one", Func: func(context.Context) error { hangOne(release); return nil }},
			shutdown.Hook{Name: "two", Func: func(context.Context) error { hangTwo(release); return nil }, Timeout: time.Second},
			shutdown.Hook{Name: "three", Func: func(context.Context) error { return errors.New("refused") }},
		))
		s := p.Run(background).Steps[0]

		const ignored = "ignored the end of its context: still running after "
		text := `shutdown: hook "both": one: ` + ignored + "9s of 9s, left behind\n" +
			"two: " + ignored + "1s of 1s, left behind\nthree: refused"
		if s.State != shutdown.Stuck || s.Err.Error() != text {
			t.Errorf("%v: %v\nwant %s", s, s.Err, text)
		}
		for i, want := range []string{"hangOne", "hangTwo"} {
			var e *shutdown.HookError
			if !errors.As(s.Members[i].Err, &e) || e.Name != s.Members[i].Name {
				t.Fatalf("member %d: %v", i, s.Members[i])
			}
			if stack := string(e.Stack); countIn(want, stack) != 1 || strings.Count(stack, "goroutine ") != 1 {
				t.Errorf("the stack of member %d is\n%s", i, e.Stack)
			}
		}
	})
}

// What is around a Parallel may hang itself.
func TestParallelInsideStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := quiet()
		hang := hanging(t)
		p.Defer("hook", func(ctx context.Context) error {
			shutdown.Parallel(shutdown.Hook{Name: "fails", Func: func(context.Context) error { return errors.New("refused") }})(ctx)
			return hang(ctx)
		})
		s := p.Run(background).Steps[0]
		text := `shutdown: hook "hook": ignored the end of its context: still running after 9s of 9s, left behind` + "\nfails: refused"
		if s.State != shutdown.Stuck || s.Err.Error() != text || len(s.Members) != 1 {
			t.Errorf("%v: %v\nwant %s", s, s.Err, text)
		}
	})
}

func TestParallelOfNothing(t *testing.T) {
	if err := shutdown.Parallel()(background); err != nil {
		t.Error(err)
	}
}

// Outside a pipeline the functions do the same, without a report.
func TestOutsidePipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		err := shutdown.Within(time.Second, hanging(t))(background)
		var e *shutdown.HookError
		if !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(string(e.Stack), "hanging") {
			t.Errorf("hanging: %#v", err)
		}
		if took := time.Since(begin); took != 1010*time.Millisecond {
			t.Errorf("hanging took %v", took)
		}
		if err := shutdown.Within(time.Second, obey)(background); err != context.DeadlineExceeded {
			t.Errorf("overrun: %v", err)
		}
		if err := shutdown.Within(time.Second, nothing)(background); err != nil {
			t.Errorf("ok: %v", err)
		}
		if err := shutdown.Within(0, nothing)(background); err != nil {
			t.Errorf("no limit: %v", err)
		}
		err = shutdown.Within(time.Second, func(context.Context) error { panic("broken") })(background)
		if !errors.As(err, &e) || e.Panic != "broken" {
			t.Errorf("panic: %#v", err)
		}
		err = shutdown.Within(time.Second, func(context.Context) error { runtime.Goexit(); return nil })(background)
		if err == nil || err.Error() != "ended by runtime.Goexit, without returning" {
			t.Errorf("goexit: %v", err)
		}
		err = shutdown.Parallel(shutdown.Hook{Name: "a", Func: hanging(t), Timeout: time.Second})(background)
		if !errors.As(err, &e) || e.Name != "a" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("member: %v", err)
		}
		err = shutdown.Parallel(shutdown.Hook{Name: "a", Func: obey}, shutdown.Hook{Func: nothing})(deadline(t, time.Second))
		if err == nil || err.Error() != "a: context deadline exceeded" {
			t.Errorf("parallel: %v", err)
		}
	})
}

// A context may end by cancellation, as that of a Before step does when a stop begins.
// What ignores that is given up on, too.
func TestOutsidePipelineCancelled(t *testing.T) {
	for name, f := range map[string]func(function) function{
		"within":         func(f function) function { return shutdown.Within(time.Hour, f) },
		"no limit":       func(f function) function { return shutdown.Within(0, f) },
		"parallel":       func(f function) function { return shutdown.Parallel(shutdown.Hook{Name: "a", Func: f}) },
		"with a timeout": func(f function) function { return shutdown.Parallel(shutdown.Hook{Func: f, Timeout: time.Hour}) },
		"nested":         func(f function) function { return shutdown.Within(0, shutdown.Within(time.Hour, f)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(background)
				time.AfterFunc(time.Second, cancel)
				begin := time.Now()
				err := f(hanging(t))(ctx)
				var e *shutdown.HookError
				if !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(string(e.Stack), "hanging") {
					t.Errorf("error is %#v", err)
				}
				if took := time.Since(begin); took > 1100*ms {
					t.Errorf("took %v, want 100 ms after the end of the context at most", took)
				}
			})
		})
	}
}

func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(background, d)
	t.Cleanup(cancel)
	return ctx
}

// A Within somewhere inside a hook limits what is inside it, not the hook.
func TestWithinInsideHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := quiet()
		p.Defer("hook", func(ctx context.Context) error {
			var errs []error
			for range 2 {
				errs = append(errs, shutdown.Within(time.Second, hanging(t))(ctx))
			}
			if errors.Join(errs...) == nil {
				t.Error("no error")
			}
			if ctx.Err() != nil {
				t.Error("the hook's context has ended")
			}
			return sleep(ctx, time.Second)
		})
		s := p.Run(background).Steps[0]
		// The hook has dealt with the errors.
		if got, want := s.String(), "hook: ok, 3.02s of 9s"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// Where both limits end at once, the inner one is given up on first, so that
// the hook around it can go on.
func TestWithinLongerThanBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := quiet()
		went := false
		p.Defer("hook", func(ctx context.Context) error {
			err := shutdown.Within(time.Hour, shutdown.Within(0, hanging(t)))(ctx)
			went = true
			return fmt.Errorf("flush: %w", err)
		})
		s := p.Run(background).Steps[0]
		if !went || s.State != shutdown.Stuck || s.Took != 9002500*time.Microsecond {
			t.Errorf("%v, went on: %v", s, went)
		}
		var e *shutdown.HookError
		if !errors.As(s.Err, &e) || !strings.Contains(e.Error(), "flush: ignored") || !strings.Contains(string(e.Stack), "hanging") {
			t.Errorf("error is %v", s.Err)
		}
	})
}
