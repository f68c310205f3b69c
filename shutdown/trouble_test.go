// SPDX-License-Identifier: MIT

package shutdown_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

// A log that blocks or panics holds up no step, and the report counts the records.
func TestBrokenLog(t *testing.T) {
	for name, broken := range map[string]func(release chan struct{}){
		"blocks": func(release chan struct{}) { <-release },
		"panics": func(chan struct{}) { panic("broken log") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				defer close(release)
				p := quiet()
				p.Logger = slog.New(brokenLog{slog.DiscardHandler, func() { broken(release) }})
				p.Defer("second", lasting(2*time.Second)) // which is logged, too
				p.Defer("first", nothing)
				r := p.Run(background)
				if r.Steps[1].Start != 0 || r.Err() != nil || r.Unlogged != 3 {
					t.Errorf("%d unlogged\n%v", r.Unlogged, r)
				}
				if r.Took > 3*time.Second { // one second for the log
					t.Errorf("took %v", r.Took)
				}
				text, err := json.Marshal(r)
				if !strings.Contains(string(text), `"unlogged":3`) || err != nil {
					t.Errorf("json is %s, %v", text, err)
				}
				if !strings.Contains(r.String(), ", not logged: 3\n") || !strings.Contains(r.LogValue().String(), "unlogged=3") {
					t.Errorf("report is %v", r)
				}
			})
		})
	}
}

// A log that is only slow is written by the end of Run.
func TestSlowLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log records
		p := quiet()
		p.Logger = slog.New(brokenLog{&log, func() { time.Sleep(300 * ms) }})
		for range 3 {
			p.Defer("hook", nothing)
		}
		r := p.Run(background)
		if r.Took != 900*ms || r.Unlogged != 0 {
			t.Errorf("took %v, %d unlogged", r.Took, r.Unlogged)
		}
	})
}

// oddError has methods that do what f does.
type oddError struct{ error, unwrap, is, as func() }

func (e *oddError) Error() string   { call(e.error); return "odd" }
func (e *oddError) Unwrap() error   { call(e.unwrap); return nil }
func (e *oddError) Is(error) bool   { call(e.is); return false }
func (e *oddError) As(any) bool     { call(e.as); return false }
func (e *oddError) each() []*func() { return []*func(){&e.error, &e.unwrap, &e.is, &e.as} }

func call(f func()) {
	if f != nil {
		f()
	}
}

// A method of an error that blocks makes the hook Stuck, and nobody else.
func TestErrorBlocks(t *testing.T) {
	for i := range 4 {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			defer close(release)
			p := quiet()
			p.Defer("next", nothing)
			p.Add(shutdown.Hook{Name: "odd", Timeout: time.Second, Func: func(context.Context) error {
				var e oddError
				*e.each()[i] = func() { hangOne(release) }
				return fmt.Errorf("wrapped: %w", errors.Join(&e, &e))
			}})
			r := p.Run(background)
			var e *shutdown.HookError
			if !errors.As(r.Err(), &e) || r.Steps[0].State != shutdown.Stuck || r.Steps[1].State != shutdown.OK {
				t.Fatal(r)
			}
			// fmt.Errorf calls Error in the hook itself.
			if countIn("hangOne", string(e.Stack)) != 1 {
				t.Errorf("method %d: the stack is\n%s", i, e.Stack)
			}
			if _, err := json.Marshal(r); err != nil || !errors.Is(r.Err(), context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
}

// A method of an error that panics makes the hook Panicked. Nobody calls it again.
func TestErrorPanics(t *testing.T) {
	for i := 1; i < 4; i++ { // fmt survives Error
		p := quiet()
		p.Defer("odd", func(context.Context) error {
			var e oddError
			*e.each()[i] = func() { panic("broken") }
			return &e
		})
		r := p.Run(background)
		var e *shutdown.HookError
		if !errors.As(r.Err(), &e) || e.Panic != "broken" || r.Steps[0].State != shutdown.Panicked {
			t.Errorf("method %d: %v, %#v", i, r, e)
		}
		if got, want := e.Error(), `shutdown: hook "odd": odd (panic: broken)`; got != want {
			t.Errorf("error is %q, want %q", got, want)
		}
		if errors.Is(r.Err(), errors.ErrUnsupported) { // would panic
			t.Error("found")
		}
	}
}

type cycle struct{}

func (c *cycle) Error() string   { return "cycle" }
func (c *cycle) Unwrap() []error { return []error{c, c} }

// An error that contains itself is not followed without end.
func TestErrorCycle(t *testing.T) {
	p := quiet()
	p.Defer("cycle", func(context.Context) error { return new(cycle) })
	r := p.Run(background)
	if got, want := fmt.Sprint(r.Err()), `shutdown: hook "cycle": cycle (more than 10000 errors in its tree)`; got != want {
		t.Errorf("error is %q, want %q", got, want)
	}
	if errors.Is(r.Err(), context.Canceled) { // would not return
		t.Error("found")
	}
}

// The cause of a force may block, too.
func TestForcedByOddError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		ctx, cancel := context.WithCancelCause(background)
		time.AfterFunc(time.Second, func() { cancel(&oddError{error: func() { <-release }}) })
		p := quiet()
		p.Defer("never", nothing)
		p.Defer("obeys", obey)
		r := p.Run(ctx)
		if r.Took > 1300*ms || r.Steps[1].State != shutdown.Skipped || !r.Forced {
			t.Error(r)
		}
		if got, want := r.Steps[1].Err.Error(), `shutdown: hook "never": skipped: the shutdown was forced: the Error method of the cause blocks`; got != want {
			t.Errorf("error is %q, want %q", got, want)
		}
	})
}

// A process that was frozen still runs every hook, with its Reserve, and says that it
// is late.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := quiet()
		p.Grace = 5 * time.Second
		p.Defer("last", obey)
		p.Defer("middle", obey)
		p.Defer("first", nothing)
		steps := 0
		r := p.Run(stallingContext{background, func() {
			if steps++; steps == 3 { // all looks at the context before a step count
				time.Sleep(8 * time.Second)
			}
		}})
		for _, s := range r.Steps[1:] {
			if s.Budget < 250*ms || s.State == shutdown.Skipped || s.Took != s.Budget {
				t.Errorf("%v", s)
			}
		}
		if !strings.Contains(r.String(), "5s grace, 8.5s taken, late") || r.Forced {
			t.Error(r)
		}
	})
}

// What is added when the time is up runs in the goroutine that adds it, so that Run
// returns.
func TestAddWhenTimeIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := quiet()
		var added time.Duration
		begin := time.Now()
		p.Defer("on the stack", func(context.Context) error {
			p.Defer("added", func(context.Context) error { added = time.Since(begin); return nil })
			if added == 0 {
				t.Error("the added hook has not run when Defer returned")
			}
			return nil
		})
		p.Defer("first", nothing)
		steps := 0
		r := p.Run(stallingContext{background, func() {
			if steps++; steps == 3 {
				time.Sleep(20 * time.Second)
			}
		}})
		if got, want := names(r.Steps), "first on the stack"; got != want || r.Err() != nil {
			t.Errorf("%q, want %q\n%v", got, want, r)
		}
	})
}

// A Reserve is kept for a hook that is added by one that overruns.
func TestReserveForAddedHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := quiet()
		p.Reserve = 4 * time.Second // twice that fits
		hang := hanging(t)
		p.Defer("overruns", func(ctx context.Context) error {
			p.Defer("added", obey)
			return hang(ctx)
		})
		r := p.Run(background)
		if s := r.Steps[1]; s.Name != "added" || s.Budget < 4*time.Second || s.State != shutdown.Failed {
			t.Errorf("%v", s)
		}
		if r.Took > p.Grace {
			t.Errorf("took %v", r.Took)
		}
	})
}

// When more hooks hang than there is a Reserve for, each is tried, inside Grace.
func TestEachIsTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := quiet()
		hang := hanging(t)
		var tried atomic.Int32
		for range 300 {
			p.Defer("hook", func(ctx context.Context) error {
				if ctx.Err() == nil {
					tried.Add(1)
				}
				return hang(ctx)
			})
		}
		r := p.Run(background)
		if n := tried.Load(); n != 300 || r.Took >= p.Grace {
			t.Errorf("%d of 300 tried, took %v", n, r.Took)
		}
	})
}

// With very many goroutines Run is as quick, and no hook is skipped.
func TestManyGoroutines(t *testing.T) {
	for _, n := range []int{10_000, 200_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			if testing.Short() {
				t.Skip("takes 1 GB")
			}
			crowd(t, n)
			p := quiet()
			for range 3 {
				p.Defer("next", nothing)
				p.Add(shutdown.Hook{Name: "hangs", Func: hanging(t), Timeout: 100 * ms})
			}
			r := p.Run(background)
			if r.Took > p.Grace { // 0.3 s here, alone on the machine
				t.Errorf("took %v", r.Took)
			}
			for i, s := range r.Steps {
				if want := []shutdown.State{shutdown.Stuck, shutdown.OK}[i%2]; s.State != want {
					t.Errorf("%v, want %v", s, want)
				}
			}
		})
	}
}
