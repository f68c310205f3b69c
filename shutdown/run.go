package shutdown

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// forceWait is how long a hook has to return when the shutdown is forced: long
// enough to close a connection, too short to notice.
const forceWait = 100 * time.Millisecond

// run is the one Run of a Pipeline.
type run struct {
	limits
	pipeline *Pipeline
	log      *slog.Logger
	begin    time.Time
	id       string             // begins the id of every task
	tasks    atomic.Int64       // so far
	base     context.Context    // parent of the hooks' contexts: the values of Run's ctx
	cancel   context.CancelFunc // ends base when the shutdown is forced
	timer    *time.Timer        // one for all hooks
	settled  time.Duration      // used of the settling fund
	report   *Report
	done     chan struct{} // closed when report is complete
}

// newRun is called with p.mu held.
func newRun(ctx context.Context, p *Pipeline) *run {
	limits, err := p.limits()
	r := &run{
		limits:   limits,
		pipeline: p,
		log:      p.logger(),
		begin:    time.Now(),
		id:       childID(ctx),
		timer:    time.NewTimer(limits.grace),
		report:   &Report{Steps: make([]Step, 0, len(p.hooks)), Grace: limits.grace, config: err},
		done:     make(chan struct{}),
	}
	base, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r.base, r.cancel = base, func() { cancel(context.Cause(ctx)) }
	return r
}

func (r *run) all(ctx context.Context) {
	defer r.timer.Stop()
	defer r.cancel()

	// What is wrong before the first hook.
	if r.report.config != nil {
		r.log.ErrorContext(r.base, "shutdown: invalid configuration, using defaults", "error", r.report.config)
	}
	if ctx.Err() != nil {
		r.log.ErrorContext(r.base, "shutdown: Run was called with a context that has already ended: skipping every hook; "+
			"pass context.Background() or context.WithoutCancel(ctx)", "error", context.Cause(ctx))
		r.report.Forced = true
	}

	r.hooks(ctx)
	r.report.Took = time.Since(r.begin)
}

func (r *run) hooks(ctx context.Context) {
	for {
		if ctx.Err() != nil {
			skipped := r.skipRest(fmt.Errorf("the shutdown was forced: %w", context.Cause(ctx)))
			r.report.Forced = r.report.Forced || skipped > 0
			return
		}
		h, after, ok := r.pipeline.pop()
		if !ok {
			return
		}
		budget, settle, ok := r.budget(after)
		if !ok {
			r.skip(h, noTimeError{})
			r.skipRest(noTimeError{})
			return
		}
		r.hook(ctx, h, budget, settle)
	}
}

// budget is what the next hook gets now, when so many come after it.
//
// What the hooks may use ends at usable; what settling and late timers take
// ends at stop. So a hook that overruns takes nothing from those after it, nor
// from one that it defers meanwhile: a share of the settling is kept for that.
func (r *run) budget(after int) (budget, settle time.Duration, ok bool) {
	now := time.Since(r.begin)
	budget = max(r.reserve, r.usable-now-times(r.reserve, after))
	settle = min(maxSettle, (r.settling-r.settled)/time.Duration(after+2))
	return budget, settle, budget > 0 && budget <= r.stop-now-settle
}

// hook runs one hook and waits for its end, for the end of its budget, or for
// the end of ctx.
func (r *run) hook(ctx context.Context, h hook, budget, settle time.Duration) {
	t := r.task(h.name, budget, settle)
	defer t.start(r.base, h.f)()

	r.timer.Reset(budget / 4)
	t.wait(r.timer, t.began.Add(budget+settle), ctx.Done(), func() {
		r.report.Forced = true
		r.log.WarnContext(r.base, "shutdown: forced", "hook", h.name, "cause", context.Cause(ctx))
		r.cancel()
	})

	step := t.step(r.begin, sync.OnceValue(goroutineProfile))
	r.settled += min(settle, max(0, step.Took-budget))
	r.end(step, "shutdown: step ended")
}

// late runs a hook that was deferred after the last one had ended.
func (r *run) late(h hook) {
	t := r.task(h.name, r.reserve, maxSettle)
	defer t.start(context.WithoutCancel(r.base), h.f)()

	timer := time.NewTimer(t.budget / 4)
	defer timer.Stop()
	t.wait(timer, t.began.Add(t.budget+t.settle), nil, nil)
	r.logStep(t.step(r.begin, sync.OnceValue(goroutineProfile)), "shutdown: hook deferred after the end has ended")
}

func (r *run) task(name string, budget, settle time.Duration) *task {
	return &task{
		entry:  &entry{log: r.log, hook: true, name: name, budget: budget},
		whole:  true,
		id:     r.id + "." + strconv.FormatInt(r.tasks.Add(1), 10),
		began:  time.Now(),
		budget: budget,
		settle: settle,
		done:   make(chan struct{}),
	}
}

func (r *run) skipRest(reason error) int {
	hooks := r.pipeline.drain()
	for _, h := range hooks {
		r.skip(h, reason)
	}
	return len(hooks)
}

func (r *run) skip(h hook, reason error) {
	r.end(Step{
		Name:  h.name,
		Start: time.Since(r.begin),
		State: Skipped,
		Err:   &HookError{Name: h.name, Err: fmt.Errorf("skipped: %w", reason), state: Skipped, hook: true},
	}, "shutdown: step skipped")
}

func (r *run) end(s Step, message string) {
	r.report.Steps = append(r.report.Steps, s)
	r.logStep(s, message)
}

func (r *run) logStep(s Step, message string) {
	level := slog.LevelInfo
	attrs := make([]slog.Attr, 0, 6)
	attrs = append(attrs,
		slog.String("step", s.Name),
		slog.String("state", s.State.String()),
		slog.Duration("took", s.Took),
		slog.Duration("budget", s.Budget))
	var e *HookError
	if errors.As(s.Err, &e) {
		level = slog.LevelError
		attrs = append(attrs, slog.Any("error", s.Err))
		if len(e.Stack) > 0 {
			attrs = append(attrs, slog.String("stack", string(e.Stack)))
		}
	}
	r.log.LogAttrs(r.base, level, message, attrs...)
}
