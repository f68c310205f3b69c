package shutdown

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// maxSettle is how long after the end of its budget a function may return and
// still count as one that did as it was told: its context ends at the very
// moment at which the budget does, and it needs a moment to notice.
const maxSettle = 10 * time.Millisecond

// task is one supervised run of a function: of a hook, of a member of Parallel,
// of what is inside Within. It goes into the function's context, so that these
// know where they are.
type task struct {
	entry *entry // what the report says about it
	whole bool   // it is all of its entry, not a part inside somebody's hook

	id     string // unique; the ids of the tasks inside it begin with it and a slash
	began  time.Time
	budget time.Duration
	settle time.Duration
	done   chan struct{} // closed when the function has ended in time

	mu        sync.Mutex // guards the rest
	children  int        // for their ids
	goroutine string     // that runs it: known where there are no labels
	closed    bool       // ended, or given up on: err and took are final
	err       error
	took      time.Duration
}

// entry is a line of the report in the making. What is inside Within shares it
// with what is outside.
type entry struct {
	log  *slog.Logger // nil: do not warn
	hook bool         // not a member

	mu       sync.Mutex // guards the rest
	name     string
	numbered bool          // the name is only a position
	named    bool          // the name was given by Named
	budget   time.Duration // as tightened by Within
	patient  bool          // see Patient
	warned   bool
	members  []*task
}

func (e *entry) title() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.name
}

type taskKey struct{}

func taskFrom(ctx context.Context) *task {
	t, _ := ctx.Value(taskKey{}).(*task)
	return t
}

// childID is an id for what is started with ctx: inside the task of ctx, or a
// random one, which needs no counter that all pipelines would share.
func childID(ctx context.Context) string {
	t := taskFrom(ctx)
	if t == nil {
		return strconv.FormatUint(rand.Uint64(), 36)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.children++
	return t.id + "/" + strconv.Itoa(t.children)
}

// start runs f in a goroutine of its own, with a context that ends when the
// budget does. The caller calls stop when it waits no longer.
func (t *task) start(parent context.Context, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithDeadlineCause(parent, t.began.Add(t.budget), &budgetError{t.entry.title(), t.budget})
	go t.run(ctx, f)
	return cancel
}

// run calls f so that its goroutines are found (see stacks).
func (t *task) run(ctx context.Context, f func(context.Context) error) {
	ctx = context.WithValue(ctx, taskKey{}, t)
	t.labelled(ctx, func(ctx context.Context) {
		var err error
		returned := false
		defer func() {
			if !returned {
				err = notReturned(recover())
			}
			t.end(err)
		}()
		err = f(ctx)
		returned = true
	})
}

// notReturned is the error of a function that ended otherwise.
func notReturned(recovered any) error {
	if recovered == nil {
		return errGoexit
	}
	return &HookError{Err: panicError(recovered), Panic: recovered, Stack: panicStack(), state: Panicked}
}

// end is the end of the function. It makes no difference to a task that was
// given up on.
func (t *task) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.closed, t.err, t.took = true, err, time.Since(t.began)
	close(t.done)
}

// wait waits for the end of the task. It gives up at giveUp, or soon after
// forced is closed. The timer is set to when a warning is due.
func (t *task) wait(timer *time.Timer, giveUp time.Time, forced <-chan struct{}, force func()) {
	for warned := false; ; {
		select {
		case <-t.done:
			return
		case <-forced:
			forced, warned = nil, true
			force()
			if soon := time.Now().Add(forceWait); soon.Before(giveUp) {
				giveUp = soon
			}
		case <-timer.C:
			if warned {
				return
			}
			warned = true
			t.warn()
		}
		timer.Reset(time.Until(giveUp))
	}
}

// finish gives up on the task, unless it has ended. From here on its outcome
// does not change.
func (t *task) finish(profile func() []byte) error {
	t.mu.Lock()
	closed := t.closed
	t.mu.Unlock()
	var stack []byte
	if !closed {
		stack = t.stacks(profile()) // takes a while: it may end meanwhile
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed, t.took = true, time.Since(t.began)
		t.err = &HookError{Err: &stuckError{t.took, t.budget}, Stack: stack, state: Stuck}
	}
	return t.err
}

// warn names a task that uses more than its share, once.
func (t *task) warn() {
	if !t.whole {
		return
	}
	e := t.entry
	e.mu.Lock()
	name, budget, quiet := e.name, e.budget, e.log == nil || e.patient || e.warned
	e.warned = true
	e.mu.Unlock()
	if !quiet {
		e.log.Warn("shutdown: step still runs", "step", name, "after", time.Since(t.began), "budget", budget)
	}
}

// step finishes the task and reports on it.
func (t *task) step(origin time.Time, profile func() []byte) Step {
	err := t.finish(profile)
	e := t.entry
	e.mu.Lock()
	s := Step{Name: e.name, Start: t.began.Sub(origin), Took: t.took, Budget: e.budget}
	members := e.members
	e.mu.Unlock()

	var memberErrs []error
	for _, m := range members {
		member := m.step(origin, profile)
		s.Members = append(s.Members, member)
		memberErrs = append(memberErrs, member.Err)
	}

	// A function that did not return did not return its members' errors either.
	if err != nil {
		he := newHookError(s.Name, err)
		if _, stuck := he.Err.(*stuckError); stuck {
			he.Err = errors.Join(append([]error{he.Err}, memberErrs...)...)
		}
		he.hook = e.hook
		s.State, s.Err = he.state, he
	}
	return s
}
