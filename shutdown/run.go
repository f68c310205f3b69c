package shutdown

import (
	"context"
	"fmt"
	"log/slog"
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
	base     context.Context    // parent of the hooks' contexts: the values of Run's ctx
	cancel   context.CancelFunc // ends base when the shutdown is forced
	timer    *time.Timer        // one for all hooks
	settled  time.Duration      // used of the settling fund
	stacks   *stacks
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
		timer:    time.NewTimer(limits.grace),
		stacks:   newStacks(min(maxStackTime, limits.grace/100)),
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
func (r *run) hook(ctx context.Context, h Hook, budget, settle time.Duration) {
	t := r.task(h, budget, settle)
	defer t.start(r.base, h.Func)()
	giveUp := t.wait(r.timer, ctx.Done(), func() {
		r.report.Forced = true
		r.log.WarnContext(r.base, "shutdown: forced", "step", h.Name, "cause", context.Cause(ctx))
		r.cancel()
	})

	step := t.report(r.begin, giveUp)
	r.settled += min(settle, max(0, step.Took-t.budget))
	r.end(step, "shutdown: step ended")
}

// late runs a hook that was added after the last one had ended.
func (r *run) late(h Hook) {
	t := r.task(h, r.reserve, maxSettle)
	giveUp := t.supervise(context.WithoutCancel(r.base), h.Func)
	r.logStep(t.report(r.begin, giveUp), "shutdown: hook added after the end has ended")
}

func (r *run) task(h Hook, budget, settle time.Duration) *task {
	if h.Timeout > 0 {
		budget = min(budget, h.Timeout)
	}
	return &task{
		step:   true,
		name:   h.Name,
		prefix: hookPrefix(h.Name),
		log:    r.log,
		stacks: r.stacks,
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

func (r *run) skip(h Hook, reason error) {
	err := &HookError{Name: h.Name, Err: fmt.Errorf("skipped: %w", reason), state: Skipped}
	err.text = hookPrefix(h.Name) + err.Err.Error()
	r.end(Step{Name: h.Name, Start: time.Since(r.begin), State: Skipped, Err: err}, "shutdown: step skipped")
}

func (r *run) end(s Step, message string) {
	r.report.Steps = append(r.report.Steps, s)
	r.logStep(s, message)
}

func (r *run) logStep(s Step, message string) {
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("step", s.Name),
		slog.String("state", s.State.String()),
		slog.Duration("took", rounded(s.Took)),
		slog.Duration("budget", rounded(s.Budget)),
	}
	if e, ok := s.Err.(*HookError); ok {
		level = slog.LevelError
		attrs = append(attrs, slog.Any("error", e))
		if len(e.Stack) > 0 {
			attrs = append(attrs, slog.String("stack", string(e.Stack)))
		}
	}
	r.log.LogAttrs(r.base, level, message, attrs...)
}

// hookPrefix begins the text of a hook's error.
func hookPrefix(name string) string { return fmt.Sprintf("shutdown: hook %q: ", name) }
