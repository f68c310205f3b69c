// SPDX-License-Identifier: MIT

package shutdown_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

// stuckStack is the stack that the report has of a hook that hangs.
func stuckStack(t *testing.T, p *shutdown.Pipeline, f function) string {
	t.Helper()
	p.Add(shutdown.Hook{Name: "hangs", Func: f, Timeout: 200 * ms}) // enough to begin, on a busy machine
	r := p.Run(background)
	var e *shutdown.HookError
	if !errors.As(r.Err(), &e) || r.Steps[0].State != shutdown.Stuck {
		t.Fatal(r)
	}
	if r.Took > p.Grace {
		t.Errorf("took %v of %v", r.Took, p.Grace)
	}
	return string(e.Stack)
}

// crowd starts n goroutines that run until the test ends.
func crowd(t *testing.T, n int) {
	release := make(chan struct{})
	var begun, all sync.WaitGroup
	begun.Add(n)
	for range n {
		all.Go(func() { begun.Done(); hangTwo(release) })
	}
	begun.Wait()
	t.Cleanup(func() { close(release); all.Wait() })
}

// A hook that replaces its labels is found all the same.
func TestStackWithOtherLabels(t *testing.T) {
	hang := hanging(t)
	stack := stuckStack(t, quiet(), func(ctx context.Context) error {
		pprof.SetGoroutineLabels(background)
		return hang(ctx)
	})
	if countIn("TestStackWithOtherLabels.func1", stack) != 1 {
		t.Errorf("the stack is\n%s", stack)
	}
}

// Where tracebacks have labels, a goroutine is found whose parent has ended.
func TestStackByLabel(t *testing.T) {
	t.Setenv("GODEBUG", "tracebacklabels=1")
	pprof.Do(background, pprof.Labels("key", "value"), func(context.Context) {
		buf := make([]byte, 1024)
		if !bytes.Contains(buf[:runtime.Stack(buf, true)], []byte("labels:")) {
			t.Skip("this release of Go has no labels in tracebacks")
		}
	})
	release := make(chan struct{})
	defer close(release)
	stack := stuckStack(t, quiet(), shutdown.Within(time.Hour, func(context.Context) error {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			go hangOneMore(release)
		}()
		<-ended
		hangOne(release)
		return nil
	}))
	if countIn("hangOneMore", stack) != 1 || countIn("hangOne", stack) != 1 {
		t.Errorf("the stack is\n%s", stack)
	}
}

// The log has the stacks of all members that hang, also when the step around them does
// not end in time either.
func TestStacksOfMembersInLog(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for name, around := range map[string]func(function) function{
		"ends": func(f function) function { return f },
		"hangs": func(f function) function {
			return func(ctx context.Context) error {
				f(ctx)
				hangInner(ctx.Value(releaseKey{}).(chan struct{}))
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			defer close(release)
			var log bytes.Buffer
			p := quiet()
			p.Logger = slog.New(slog.NewJSONHandler(&log, nil))
			p.Add(shutdown.Hook{Name: "both", Timeout: 5 * time.Second, Func: around(shutdown.Parallel(
				shutdown.Hook{Name: "one", Func: func(context.Context) error { hangOne(release); return nil }, Timeout: 50 * ms},
				shutdown.Hook{Name: "two", Func: func(context.Context) error { hangTwo(release); return nil }, Timeout: 100 * ms},
			))})
			p.Run(context.WithValue(background, releaseKey{}, release))
			want := []string{"hangOne", "hangTwo"}
			if name == "hangs" {
				want = append(want, "hangInner")
			}
			for _, f := range want {
				if countIn(f, log.String()) == 0 {
					t.Errorf("the log does not have %s:\n%s", f, &log)
				}
			}
		})
	}
}

type releaseKey struct{}

// The stacks go into a log record: there is a limit to their size.
func TestStackOfManyGoroutines(t *testing.T) {
	stack := stuckStack(t, quiet(), func(context.Context) error {
		release := make(chan struct{})
		t.Cleanup(func() { close(release) })
		for range 2000 {
			go hangOneMore(release)
		}
		hangOne(release)
		return nil
	})
	if len(stack) > 100<<10 || !strings.Contains(stack, " goroutines more\n") {
		t.Errorf("%d bytes, which end with %q", len(stack), stack[len(stack)-100:])
	}
}

// To list very many goroutines would stop the process for too long.
func TestStackLeftOut(t *testing.T) {
	crowd(t, 5000)
	p := quiet()
	p.Grace = 4 * time.Second // a hundredth of it is for stacks
	stack := stuckStack(t, p, hanging(t))
	if !strings.HasPrefix(stack, "left out: to list the 500") {
		t.Errorf("the stack is\n%s", stack)
	}
}
