// SPDX-License-Identifier: MIT

package shutdown

import (
	"context"
	"errors"
	"log/slog"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/goroutine"
)

// maxSettle is how long after the end of its budget a function may return and
// still count as one that did as it was told: its context ends at the same moment
// as the budget, and it needs a moment to notice.
const maxSettle = 10 * time.Millisecond

// task is one supervised call of a function: of a hook, of a member of Parallel,
// or of what is inside Within. The function's context has it, so that a Parallel
// or Within inside finds it.
type task struct {
	outer  *task  // nil for a hook, and outside a pipeline
	step   bool   // it is one in the report; what is inside Within is not
	name   string // empty inside Within
	prefix string // of its error's text
	log    *slog.Logger
	stacks *stacks

	began    time.Time
	budget   time.Duration // zero means no limit: only outside a pipeline
	settle   time.Duration
	patience time.Duration // after the end of the context around it
	done     chan struct{} // closed when the function has ended in time

	waitsFor goroutine.Wait // whose stack to show, if the function only waits for it

	mu      sync.Mutex // guards the rest
	path    string     // the numbers of the first goroutines of the tasks around it and of its own
	members []*task    // of each Parallel in it
	closed  bool       // ended, or given up on: err and took are final
	err     error
	took    time.Duration
}

type taskKey struct{}

// stacksFrom are those of the shutdown that ctx belongs to.
func stacksFrom(ctx context.Context) *stacks {
	if t := taskFrom(ctx); t != nil {
		return t.stacks
	}
	return newStacks(maxStackTime)
}

func taskFrom(ctx context.Context) *task {
	t, _ := ctx.Value(taskKey{}).(*task)
	return t
}

// newInnerTask is a task inside that of ctx, if there is one. Its budget is what
// ctx leaves, at most timeout.
func newInnerTask(ctx context.Context, timeout time.Duration, stacks *stacks) *task {
	t := &task{
		outer:    taskFrom(ctx),
		stacks:   stacks,
		began:    time.Now(),
		budget:   max(0, timeout),
		settle:   maxSettle,
		patience: forceWait,
		done:     make(chan struct{}),
	}
	end, limited := ctx.Deadline()
	left := end.Sub(t.began)
	if limited && (t.budget == 0 || left < t.budget) {
		t.budget = max(1, left)
	}
	if t.outer == nil {
		return t
	}
	t.log = t.outer.log
	// What is inside is given up on first, so that what is around it can go on.
	t.patience = t.outer.patience * 9 / 10
	if limited {
		t.settle = min(maxSettle, left-t.budget+t.outer.settle/2)
	}
	return t
}

// start calls f in a goroutine of its own, with a context that ends when the
// budget does. The caller calls stop when it waits no longer.
func (t *task) start(parent context.Context, f func(context.Context) error) (stop func()) {
	ctx := goroutine.WithWait(context.WithValue(parent, taskKey{}, t), &t.waitsFor)
	end := t.began.Add(t.budget)
	if parentEnd, ok := ctx.Deadline(); t.budget == 0 || ok && !parentEnd.After(end) {
		ctx, stop = context.WithCancel(ctx)
	} else {
		ctx, stop = context.WithDeadlineCause(ctx, end, &budgetError{t.name, t.budget})
	}
	go t.run(ctx, f)
	return stop
}

// run calls f so that its goroutines can be found (see findStacks).
func (t *task) run(ctx context.Context, f func(context.Context) error) {
	path := goroutine.Current()
	if t.outer != nil {
		path = t.outer.goroutines() + "/" + path
	}
	t.mu.Lock()
	t.path = path
	t.mu.Unlock()
	pprof.Do(ctx, pprof.Labels(labelKey, path+" "+t.name), func(ctx context.Context) {
		t.call(ctx, f)
	})
}

func (t *task) call(ctx context.Context, f func(context.Context) error) {
	err := errGoexit
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError(v)
		}
		// Here, not in Run's goroutine: methods of a user's error may block.
		if err != nil && t.step {
			err = newHookError(t.name, t.prefix, err)
		}
		t.end(err)
	}()
	err = f(ctx)
}

// end is the end of the function. It changes nothing when the task has been given
// up on.
func (t *task) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.closed, t.err, t.took = true, err, time.Since(t.began)
	close(t.done)
}

// goroutines is path, empty before the first goroutine runs.
func (t *task) goroutines() string {
	t.mu.Lock()
	path := t.path
	t.mu.Unlock()
	return path
}

// wait waits for the end of the task. It gives up when the budget and the time to
// settle are over, or soon after the context around the task has ended: then it calls
// force, which may be nil. It returns when it gives up.
func (t *task) wait(timer *time.Timer, ended <-chan struct{}, force func()) (giveUp time.Time) {
	giveUp = t.began.Add(t.budget + t.settle)
	timer.Reset(t.lasts())
	limited, told, stalled := t.budget > 0, false, false
	for {
		select {
		case <-t.done:
			return giveUp
		case <-ended:
			ended, told = nil, true
			if force != nil {
				force()
			}
			if soon := time.Now().Add(t.patience); !limited || soon.Before(giveUp) {
				giveUp, limited = soon, true
			}
		case <-timer.C:
			late := time.Since(giveUp)
			switch {
			case !told:
				told = true
				t.stillRuns()
			case stalled || late <= t.settle:
				return giveUp
			default: // the function has not run meanwhile, either
				stalled = true
				giveUp = giveUp.Add(late + min(late, t.patience))
			}
		}
		if limited {
			timer.Reset(time.Until(giveUp))
		}
	}
}

// lasts is how long the task takes before that is logged. After a SIGKILL the
// log's last record then names the step.
func (t *task) lasts() time.Duration {
	if t.budget == 0 {
		return time.Second
	}
	return min(time.Second, t.budget/4)
}

func (t *task) stillRuns() {
	if t.log != nil && t.step {
		t.log.Info("shutdown: step still runs", "step", t.name,
			"after", rounded(time.Since(t.began)), "budget", rounded(t.budget))
	}
}

// finish gives up on the task, unless it has ended. From here on its outcome does
// not change.
func (t *task) finish(giveUp time.Time) error {
	t.mu.Lock()
	closed, path := t.closed, t.path
	t.mu.Unlock()
	var stack []byte
	what, paths := t.waitsFor.On()
	if len(paths) == 0 {
		paths = []string{path}
	}
	if !closed {
		stack = t.stacks.find(paths, giveUp) // takes a while: the task may end meanwhile
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed, t.took = true, time.Since(t.began)
		t.err = &HookError{Name: t.name, Err: &stuckError{t.took, t.budget, what}, Stack: stack, state: Stuck}
	}
	return t.err
}

// report finishes the task and its members, and is what the report has on them.
func (t *task) report(origin, giveUp time.Time) Step {
	err := t.finish(giveUp)
	t.mu.Lock()
	members := t.members
	t.mu.Unlock()

	s := Step{Name: t.name, Start: t.began.Sub(origin), Took: t.took, Budget: t.budget}
	var memberErrs []error
	for _, m := range members {
		member := m.report(origin, giveUp)
		s.Members = append(s.Members, member)
		memberErrs = append(memberErrs, member.Err)
	}

	e, ok := err.(*HookError)
	if !ok {
		return s
	}
	if stuck, ok := e.Err.(*stuckError); ok {
		// It did not return its members' errors.
		all := errors.Join(append([]error{stuck}, memberErrs...)...)
		e = &HookError{Name: t.name, Err: all, Stack: e.Stack, state: Stuck, text: t.prefix + all.Error()}
	}
	s.State, s.Err = e.state, e
	return s
}
