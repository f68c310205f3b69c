// Package shutdown runs stop hooks, last in first out, all inside one deadline.
// It is like defer, with a budget: whatever one hook does, the next one runs,
// with time of its own, and [Pipeline.Run] returns before the orchestrator's
// SIGKILL.
//
//	var stop shutdown.Pipeline
//	stop.Defer("database", func(context.Context) error { return db.Close() })
//	…
//	report := stop.Run(context.Background())
//
// # Budget
//
// Of [Pipeline.Grace] a margin of one twentieth is kept for what comes after
// Run; the rest is usable. A hook's budget is
//
//	time left − Reserve × hooks after it
//
// and never less than [Pipeline.Reserve]. So the first hook may use almost all
// of the time, and the last one still gets its share. [Within] tightens the
// budget of one function, [Parallel] lets several share one.
//
// # What a hook may do
//
// It gets a context that ends with its budget. When it returns an error,
// panics, or calls runtime.Goexit, that is recorded and the next hook runs.
// When it ignores its context, it is given up on: the report has the stack of
// its goroutines, the goroutines are left behind, and the next hook runs.
// Only a panic in a goroutine that the hook started itself, and did not
// recover, ends the process, as everywhere in Go.
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
// ready to use. Set the fields before the first Run and leave them alone then;
// the methods may be called by several goroutines at once. A Pipeline runs
// once and must not be copied after first use.
type Pipeline struct {
	// Grace is the time from the stop signal to the orchestrator's SIGKILL.
	// Run returns before it, a margin of Grace/20 is kept.
	//
	// Zero means $SHUTDOWN_GRACE: a duration such as "45s" or "1m30s", or a
	// bare number of seconds. If that is unset or empty: 30s in Kubernetes
	// (its terminationGracePeriodSeconds, recognised by
	// $KUBERNETES_SERVICE_HOST), 10s elsewhere (docker stop).
	Grace time.Duration

	// Reserve is kept for every hook that has not run yet. Zero: Grace/20.
	Reserve time.Duration

	// Logger gets a record when a step ends, and a warning when one is slow.
	// Run waits for it: its handler must not block. Nil: slog.Default().
	Logger *slog.Logger

	mu      sync.Mutex // guards the rest
	hooks   []hook     // the next one to run is the last
	firsts  int        // so many at the end of hooks are DeferFirst's
	ended   bool       // nothing is taken from hooks any more
	current *run       // nil before Run
}

type hook struct {
	name string
	f    func(context.Context) error
}

// Defer pushes a hook: the last one pushed runs first. The name stands for it
// in the log, in errors and in the report; it need not be unique.
//
// Defer may be called at any time and by any goroutine, also inside a hook.
// While Run runs, the new hook is the next one to run, but for those of
// [Pipeline.DeferFirst]. After the last hook has
// ended, Defer runs f at once, with Reserve as its budget, contained as every
// hook is, and returns when it has ended; the outcome is logged. Defer panics
// when f is nil.
func (p *Pipeline) Defer(name string, f func(context.Context) error) {
	p.push("Defer", hook{name, f}, func(h hook) {
		p.hooks = slices.Insert(p.hooks, len(p.hooks)-p.firsts, h)
	})
}

// DeferFirst is like Defer, but keeps the hook at the top of the stack: it runs
// before all others, whenever those were deferred, also before those of earlier
// calls of DeferFirst. It is for what uses the rest, such as a server that is
// stopped while other goroutines may still call Defer.
func (p *Pipeline) DeferFirst(name string, f func(context.Context) error) {
	p.push("DeferFirst", hook{name, f}, func(h hook) {
		p.hooks = append(p.hooks, h)
		p.firsts++
	})
}

// DeferLast is like Defer, but puts the hook at the bottom of the stack: it
// runs after all others, whenever those were deferred, also after those of
// earlier calls of DeferLast. It is for what must see the end of the rest, such
// as a flush of telemetry.
func (p *Pipeline) DeferLast(name string, f func(context.Context) error) {
	p.push("DeferLast", hook{name, f}, func(h hook) { p.hooks = slices.Insert(p.hooks, 0, h) })
}

func (p *Pipeline) push(caller string, h hook, insertLocked func(hook)) {
	if h.f == nil {
		panic(fmt.Sprintf("shutdown: %s(%q, nil): the hook needs a function", caller, h.name))
	}

	// The lock that finds the stack empty also sets ended (see pop): a hook is
	// either seen by Run or run here, never dropped between the two.
	p.mu.Lock()
	ended := p.ended
	if !ended {
		insertLocked(h)
	}
	p.mu.Unlock()

	if ended {
		p.current.late(h)
	}
}

// Run runs the hooks, last in first out, one after the other, and reports what
// each of them did. It returns before Grace has passed, whatever they do.
//
// A hook's context has the values of ctx, not its end: it ends when the hook's
// budget is used up, with a [context.Cause] that names the hook. A hook that
// then returns, with whatever error, has ended in time. One that does not
// return is given up on some milliseconds later. A hook that still runs after
// a quarter of its budget is named in a warning.
//
// When ctx ends, the shutdown is forced: the context of the running hook ends
// with the cause of ctx, the hook has 100 ms to return, and the hooks left are
// Skipped. So ctx must not be the one whose end started the shutdown; pass
// context.Background(), or context.WithoutCancel(ctx). Run with a ctx that has
// ended skips every hook, and logs that as an error.
//
// A hook is also Skipped when not even Reserve is left for it. That happens
// only when Reserve × hooks does not fit in the usable time (which
// [Pipeline.Plan] tells beforehand), or when the machine stalls.
//
// When the configuration is invalid, Run logs that, uses the defaults in its
// place, and the error is part of [Report.Err].
//
// A second Run, also one that comes while the first runs, waits for the first
// and returns the same report. A hook that calls Run waits for itself and so
// uses up its budget.
func (p *Pipeline) Run(ctx context.Context) *Report {
	p.mu.Lock()
	if r := p.current; r != nil {
		p.mu.Unlock()
		<-r.done
		return r.report
	}
	r := newRun(ctx, p)
	p.current = r
	p.mu.Unlock()

	defer close(r.done)
	r.all(ctx)
	return r.report
}

// pop takes the next hook and tells how many come after it.
func (p *Pipeline) pop() (h hook, after int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.hooks) == 0 {
		p.ended = true
		return hook{}, 0, false
	}
	after = len(p.hooks) - 1
	h = p.hooks[after]
	p.hooks[after] = hook{}
	p.hooks = p.hooks[:after]
	p.firsts = max(0, p.firsts-1)
	return h, after, true
}

// drain takes all hooks at once, in the order in which they would have run. A
// goroutine that defers without end cannot keep Run here: from now on its hooks
// run in its own time.
func (p *Pipeline) drain() []hook {
	p.mu.Lock()
	defer p.mu.Unlock()
	hooks := p.hooks
	p.hooks, p.firsts, p.ended = nil, 0, true
	slices.Reverse(hooks)
	return hooks
}

func (p *Pipeline) logger() *slog.Logger {
	if p.Logger != nil {
		return p.Logger
	}
	return slog.Default()
}
