// SPDX-License-Identifier: MIT

package shutdown

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/asynclog"
	"github.com/entrypoint-go/entrypoint/internal/began"
)

// forceWait is how long a hook has to return when the shutdown is forced: long
// enough to close a connection, too short for a person to notice.
const forceWait = 100 * time.Millisecond

// run is the one Run of a Pipeline.
type run struct {
	limits
	pipeline *Pipeline
	records  *asynclog.Handler // of log
	log      *slog.Logger
	begin    time.Time
	base     context.Context    // parent of the hooks' contexts: the values of Run's ctx
	cancel   context.CancelFunc // ends base when the shutdown is forced
	timer    *time.Timer        // one for all hooks
	stacks   *stacks
	report   *Report
	done     chan struct{} // closed when report is complete

	// What the hooks so far have used. The rest of the time went to a stall.
	given   time.Duration // of what is usable, and spare
	settled time.Duration // of settling
	slack   time.Duration // for stacks, and because timers are late
	last    *task         // nil before the first hook
}

// newRun is called with p.mu held.
func newRun(ctx context.Context, p *Pipeline) *run {
	limits, err := p.limits()
	records := asynclog.New(p.logger().Handler())
	r := &run{
		limits:   limits,
		pipeline: p,
		records:  records,
		log:      slog.New(records),
		begin:    began.When(ctx),
		timer:    time.NewTimer(limits.grace),
		stacks:   newStacks(min(maxStackTime, limits.grace/100)),
		report:   &Report{Cause: p.Cause, Steps: make([]Step, 0, len(p.first)+len(p.hooks)), Grace: limits.grace, config: err},
		done:     make(chan struct{}),
	}
	values := began.At(context.WithoutCancel(ctx), time.Time{}) // a hook may run a Pipeline of its own
	base, cancel := context.WithCancelCause(context.WithValue(values, runKey{}, r))
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
	r.report.Unlogged = r.flush(ctx)
	r.report.Took = time.Since(r.begin)
}

func (r *run) hooks(ctx context.Context) {
	for ctx.Err() == nil {
		h, after, ok := r.pipeline.pop(time.Since(r.begin) >= r.spareEnd)
		if !ok {
			return
		}
		r.hook(ctx, h, after)
	}
	skipped := r.pipeline.drain()
	if len(skipped) > 0 {
		r.report.Forced = true
		r.skip(skipped, newForcedError(context.Cause(ctx)))
	}
}

// budget is what the next hook gets now, when so many come after it.
//
// A hook that overruns takes nothing from those after it. A stall, such as a frozen
// process, takes only what is more than a Reserve for each. Very many steps that all
// end a little late are no stall.
func (r *run) budget(after int) (budget, settle time.Duration) {
	now := time.Since(r.begin)
	if t := r.last; t != nil {
		used := now - t.began.Sub(r.begin)
		r.given += min(used, t.budget)
		r.slack += min(max(0, used-t.budget-t.settle), r.grace/1000)
	}
	due := r.spareEnd - r.given - max(0, r.slack-r.grace/100)
	budget = r.share(r.usable-now, due, after+1)
	settle = min(maxSettle, (r.settling-r.settled)/time.Duration(after+2))
	return budget, settle
}

// flush waits for the log, until it is written, or forced, or for as long as there
// is time. It returns how many records are not written.
func (r *run) flush(ctx context.Context) (unlogged int) {
	now := time.Now()
	end := now.Add(min(time.Second, max(r.grace/100, r.stop-now.Sub(r.begin))))
	for {
		wait := min(forceWait, end.Sub(now))
		unlogged = r.records.Flush(wait)
		later := time.Now()
		if later.Sub(now) < wait || !later.Before(end) || ctx.Err() != nil {
			return unlogged
		}
		now = later
	}
}

// hook runs one hook and waits for its end, for the end of its budget, or for
// the end of ctx.
func (r *run) hook(ctx context.Context, h Hook, after int) {
	budget, settle := r.budget(after)
	t := r.task(h, budget, settle)
	defer t.start(r.base, h.Func)()
	giveUp := t.wait(r.timer, ctx.Done(), func() {
		r.report.Forced = true
		r.log.WarnContext(r.base, "shutdown: forced", "step", h.Name, "cause", context.Cause(ctx))
		r.cancel()
	})

	step := t.report(r.begin, giveUp)
	r.last = t
	r.settled += min(settle, max(0, step.Took-t.budget))
	r.end(step, "shutdown: step ended")
}

// late runs a hook that was added after the last one had ended.
func (r *run) late(h Hook) {
	t := r.task(h, r.reserve, maxSettle)
	giveUp := t.supervise(context.WithoutCancel(r.base), h.Func)
	r.logStep(t.report(r.begin, giveUp), "shutdown: late hook ended")
	r.records.Flush(forceWait)
}

func (r *run) task(h Hook, budget, settle time.Duration) *task {
	if h.Timeout > 0 {
		budget = min(budget, h.Timeout)
	}
	return &task{
		step:     true,
		name:     h.Name,
		prefix:   hookPrefix(h.Name),
		log:      r.log,
		stacks:   r.stacks,
		began:    time.Now(),
		budget:   budget,
		settle:   settle,
		patience: forceWait,
		done:     make(chan struct{}),
	}
}

func (r *run) skip(hooks []Hook, reason error) {
	for _, h := range hooks {
		err := &HookError{Name: h.Name, Err: reason, state: Skipped, text: hookPrefix(h.Name) + reason.Error()}
		r.end(Step{Name: h.Name, Start: time.Since(r.begin), State: Skipped, Err: err}, "shutdown: step skipped")
	}
}

func (r *run) end(s Step, message string) {
	r.pipeline.mu.Lock() // ReportFrom reads them
	r.report.Steps = append(r.report.Steps, s)
	r.pipeline.mu.Unlock()
	r.logStep(s, message)
}

func (r *run) logStep(s Step, message string) {
	level := slog.LevelInfo
	args := []any{"step", s.Name, "state", s.State.String(), "took", rounded(s.Took), "budget", rounded(s.Budget)}
	if e, ok := s.Err.(*HookError); ok {
		level = slog.LevelError
		args = append(args, "error", e)
		if stacks := s.stacks(nil); len(stacks) > 0 {
			args = append(args, "stack", string(stacks))
		}
	}
	r.log.Log(r.base, level, message, args...)
}

// hookPrefix begins the text of a hook's error.
func hookPrefix(name string) string { return fmt.Sprintf("shutdown: hook %q: ", name) }
