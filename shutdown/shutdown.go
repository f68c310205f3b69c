// SPDX-License-Identifier: MIT

// Package shutdown runs stop hooks, last in first out, all inside one deadline.
// It is like defer with a budget: whatever one hook does, the next one gets its
// turn, and [Pipeline.Run] returns before the orchestrator sends SIGKILL.
//
//	var stop shutdown.Pipeline
//	stop.Defer("database", func(context.Context) error { return db.Close() })
//	…
//	report := stop.Run(context.Background())
//
// A twentieth of [Pipeline.Grace] is kept back: for hooks that end late or are added
// at the end, for the log, and for what comes after Run. Of the rest, a hook may use
// all that is left but one [Pipeline.Reserve] for each hook after it, and one more in
// case a hook is added. With 30s of Grace and three hooks, 28.5s are usable and a
// Reserve is 1.5s: the first hook may take 28.5s - 3×1.5s = 24s.
//
// A hook's context ends with its budget. When a hook returns an error, panics or
// calls runtime.Goexit, that is recorded and the next hook runs. A hook that
// ignores the end of its context is Stuck: its goroutines are left behind, and
// the report has their stacks. Only a panic in a goroutine that the hook started
// itself ends the process, as everywhere in Go.
package shutdown

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Pipeline is a stack of stop hooks that share one deadline. The zero value is
// ready to use. Set the fields before Run and do not change them afterwards. The
// methods are safe for concurrent use. A Pipeline runs once and must not be
// copied.
type Pipeline struct {
	// Grace is the time from the stop signal to the orchestrator's SIGKILL.
	// Zero means $SHUTDOWN_GRACE, a duration such as "45s" or a number of
	// seconds. If that is not set: 30s in Kubernetes ($KUBERNETES_SERVICE_HOST
	// is set), 5s in Nomad ($NOMAD_ALLOC_ID is set), else 10s, as docker stop.
	Grace time.Duration

	// Reserve is kept for every hook that has not run yet. Zero means Grace/20,
	// or less when there are many hooks.
	Reserve time.Duration

	// Logger gets a record when a step ends, and one when a step still runs
	// after a second, or a quarter of its budget if that is less. Records are
	// written by another goroutine: no step waits for them. At its end Run
	// waits up to a second; Report.Unlogged counts what is not written by then.
	// Nil means slog.Default().
	Logger *slog.Logger

	// Cause is why the shutdown starts, for Report.Cause. May be nil.
	Cause error

	mu      sync.Mutex // guards the rest
	first   []Hook     // run before hooks, in this order
	hooks   []Hook     // the next one to run is the last
	ended   bool       // nothing is taken from hooks any more
	current *run       // nil before Run
}

// Hook is one step of a stop.
type Hook struct {
	Name    string // in the log, in errors and in the report; need not be unique
	Func    func(context.Context) error
	Timeout time.Duration // the hook's budget is at most this; zero means no such limit
}

// Add pushes a hook: the last one pushed runs first. It panics when h.Func is
// nil.
//
// Add may be called at any time, also by a hook. A hook added while Run runs is
// the next one to run. When the last hook has ended or been skipped, or the usable
// time is up, Add runs h at once, with a budget of Reserve, contained like every
// hook, logs how it ended, and returns. Such a hook is not in the report.
func (p *Pipeline) Add(h Hook) {
	p.push(h, func() { p.hooks = append(p.hooks, h) })
}

// Defer is short for Add(Hook{Name: name, Func: f}).
func (p *Pipeline) Defer(name string, f func(context.Context) error) {
	p.Add(Hook{Name: name, Func: f})
}

// DeferLast is like Defer, but puts the hook at the bottom of the stack: it runs
// after all others, whenever those were added, and after those of earlier calls
// of DeferLast. Use it for what must run after the rest, such as a flush of
// telemetry.
func (p *Pipeline) DeferLast(name string, f func(context.Context) error) {
	h := Hook{Name: name, Func: f}
	p.push(h, func() { p.hooks = append([]Hook{h}, p.hooks...) })
}

func (p *Pipeline) push(h Hook, insertLocked func()) {
	if h.Func == nil {
		panic(fmt.Sprintf("shutdown: hook %q has no Func", h.Name))
	}

	// The lock that finds the stack empty also sets ended (see pop). So a hook is
	// either seen by Run or run here, never lost between the two.
	p.mu.Lock()
	ended := p.ended
	if !ended {
		insertLocked()
	}
	p.mu.Unlock()

	if ended {
		p.current.late(h)
	}
}

// Run runs the hooks one after the other and reports what each of them did. It
// returns before Grace has passed, whatever they do. The hooks in first run
// before all others, in the order given, even before hooks added meanwhile.
//
// A hook's context has the values of ctx, but not its end. It ends when the
// hook's budget is used up, with a [context.Cause] that names the hook. A hook
// that then returns within some milliseconds is OK or, with an error, Failed. One
// that does not is given up on: it is Stuck.
//
// When ctx ends, the shutdown is forced: the context of the running hook ends
// with the cause of ctx, the hook has 100 ms to return, and the remaining hooks
// are Skipped. So do not pass the context whose end started the shutdown: pass
// context.Background() or context.WithoutCancel(ctx). If ctx has ended before
// Run, every hook is Skipped, and that is logged as an error.
//
// Only the end of ctx makes a hook Skipped. When Reserve × hooks does not fit in
// the usable time (see [Pipeline.Plan]), the hooks share what is left. After a
// stall of the machine each hook is still tried, with its Reserve.
//
// If the configuration is invalid, Run logs that and uses the defaults. The
// error is part of [Report.Err].
//
// A second Run ignores its arguments, waits for the first and returns the same
// report. A hook that calls Run waits for itself and so uses up its budget.
func (p *Pipeline) Run(ctx context.Context, first ...Hook) *Report {
	p.mu.Lock()
	if r := p.current; r != nil {
		p.mu.Unlock()
		<-r.done
		return r.report
	}
	p.first = slices.Clone(first)
	r := newRun(ctx, p)
	p.current = r
	p.mu.Unlock()

	defer close(r.done)
	r.all(ctx)
	return r.report
}

// pop takes the next hook and tells how many come after it. When the time is up,
// these are the last ones: Add runs others itself, so a goroutine that adds hooks
// without end cannot keep Run here.
func (p *Pipeline) pop(timeUp bool) (h Hook, after int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = p.ended || timeUp
	after = len(p.first) + len(p.hooks) - 1
	switch {
	case len(p.first) > 0:
		h, p.first = p.first[0], p.first[1:]
	case len(p.hooks) > 0:
		h = p.hooks[after]      // the last one: first is empty
		p.hooks[after] = Hook{} // for the garbage collector
		p.hooks = p.hooks[:after]
	default:
		p.ended = true
		return Hook{}, 0, false
	}
	return h, after, true
}

// drain takes all hooks at once, in the order in which they would have run. From
// now on Add runs hooks itself.
func (p *Pipeline) drain() []Hook {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.Reverse(p.hooks)
	hooks := append(p.first, p.hooks...)
	p.first, p.hooks, p.ended = nil, nil, true
	return hooks
}

func (p *Pipeline) logger() *slog.Logger {
	if p.Logger != nil {
		return p.Logger
	}
	return slog.Default()
}
