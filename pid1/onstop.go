package pid1

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

// OnStop adds a step for when the stop begins, before the delay and before any
// server stops: to leave a directory, to release a lease, to say goodbye. Steps run
// last in first out, supervised and reported like the hooks of Shutdown, also when
// the start failed. To undo what a step of OnReady does, and only if it did, call
// OnStop at the end of that step.
//
// The steps have a quarter of the time that Grace and Delay leave, in equal parts:
// one that hangs takes nothing from the others, and not much from the requests in
// flight. [shutdown.Within] gives a step less.
//
// After the stop has begun f becomes a hook of Shutdown, see
// [shutdown.Pipeline.Add]. OnStop panics when f is nil.
func (a *App) OnStop(name string, f func(context.Context) error) {
	if f == nil {
		panic(fmt.Sprintf("pid1: OnStop(%q): nil function", name))
	}
	h := shutdown.Hook{Name: name, Func: f}
	if !a.onStop.add(h) {
		a.Shutdown.Add(h)
	}
}

// onStop are the steps of OnStop.
type onStop struct {
	mu    sync.Mutex // guards the rest
	steps []shutdown.Hook
	begun bool
}

// add adds a step unless the stop has begun.
func (o *onStop) add(h shutdown.Hook) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.begun {
		return false
	}
	o.steps = append(o.steps, h)
	return true
}

func (o *onStop) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.steps)
}

// take returns the steps for the stop, in the order in which they run, which have
// the time between them. interrupted is the step of OnReady that the stop has
// interrupted, or nil: what it does comes before what undoes it.
func (o *onStop) take(interrupted *shutdown.Hook, left time.Duration) []shutdown.Hook {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.begun = true
	steps := o.steps
	if interrupted != nil {
		steps = append(steps, *interrupted)
	}
	slices.Reverse(steps)
	for i := range steps {
		steps[i].Timeout = max(1, left/4/time.Duration(len(steps)))
	}
	return steps
}
