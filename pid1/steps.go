// SPDX-License-Identifier: MIT

package pid1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/began"
	"github.com/entrypoint-go/entrypoint/internal/term"
	"github.com/entrypoint-go/entrypoint/reaper"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// stop runs the stop that has begun, and returns what Run returns. running is the
// step of Before or OnReady that the stop has interrupted, if there is one.
func (a *App) stop(s *stop, running *shutdown.Hook) error {
	plan := s.plan
	if plan.Grace == 0 { // there was no start; Run of the Pipeline returns the error
		plan, _ = a.Shutdown.Plan(0, 0)
	}
	servers := s.servers.all()
	a.deadline = s.at.Add(plan.Grace - plan.Grace/100)
	a.announce(s, plan)
	if IsInit() {
		a.deferLast(newDelivery(servers))
	}

	// Before every hook ends what still uses the things that hooks close.
	var interrupted *shutdown.Hook // of OnReady
	if s.serving {
		interrupted, running = running, nil
	}
	ended, left := s.delayEnds(), plan.Usable
	if ended != nil {
		left -= s.delay.d
	}
	first := a.onStop.take(interrupted, left)
	if ended != nil {
		first = append(first, a.delayHook(s, ended, servers))
	}
	if s.serving {
		first = append(first, serversHooks(*s.servers)...)
	} else {
		release(servers, a.deadline)
	}
	if running != nil {
		first = append(first, *running)
	}
	if c := s.hangupRunning(); c != nil {
		first = append(first, shutdown.Hook{Name: "OnHangup", Func: func(ctx context.Context) error {
			_ = c.wait(ctx) // hungUp has dealt with it
			return nil
		}})
	}

	a.Shutdown.Cause = s.reason()
	// A copy: what was left behind may still read the original (shutdown.ReportFrom).
	report := *a.Shutdown.Run(began.At(withStop(s.forced, s), s.at), first...)
	report.Cause = s.reason() // a signal may have become it since
	if report.Forced && s.serving {
		killAll(servers, a.deadline)
	}
	reportErr := a.report(&report, plan)
	return a.result(s, &report, reportErr)
}

func (a *App) delayHook(s *stop, ended <-chan struct{}, servers []*serverState) shutdown.Hook {
	return shutdown.Hook{
		Name:    "delay",
		Func:    func(ctx context.Context) error { a.waitDelay(ctx, s, ended, servers); return nil },
		Timeout: s.delay.d + delaySlack,
	}
}

// deferLast adds the hooks of PID 1, with which its container ends.
func (a *App) deferLast(sent delivery) {
	a.Shutdown.DeferLast("processes", terminate)
	if len(sent.addrs) > 0 {
		a.Shutdown.DeferLast("bytes", func(ctx context.Context) error { return sent.await(ctx, a) })
	}
}

// announce says that the stop begins, and how long it may take.
func (a *App) announce(s *stop, plan shutdown.Plan) {
	cause := s.reason()
	attrs := []any{"cause", cause, "grace", plan.Grace, "grace_source", plan.Source}
	if s.delayEnds() != nil {
		attrs = append(attrs, "delay", s.delay.d, "delay_source", s.delay.why)
	}
	a.log().Info("stopping", attrs...)
	if s.manager.present() {
		s.manager.tell("STOPPING=1", "STATUS=stopping: "+errorText(cause), extendTimeout(plan.Grace))
	}
}

// serversHooks are the steps that stop all servers: one in which they stop at
// once, or one for each server if there is nothing but an InOrder.
func serversHooks(top []*serverState) []shutdown.Hook {
	if c, ok := top[0].server.(chain); ok && len(top) == 1 {
		return c.stops(top[0].members)
	}
	hooks := make([]shutdown.Hook, len(top))
	for i, p := range top {
		hooks[i] = p.hook()
	}
	if len(hooks) > 1 {
		hooks = []shutdown.Hook{{Name: "servers", Func: shutdown.Parallel(hooks...)}}
	}
	return hooks
}

// terminate is the last step as PID 1. What ignores SIGTERM gets SIGKILL a moment
// before the deadline, so that there is time to see that it has ended.
func terminate(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok {
		moment := min(reaperGivesUp, time.Until(deadline)/4)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-moment))
		defer cancel()
	}
	return reaper.Terminate(ctx)
}

// reaperGivesUp is how long reaper.Terminate waits for what it has killed.
const reaperGivesUp = 500 * time.Millisecond

// report shows the report of the stop. Neither OnReport nor a terminal that is
// held can keep Run from returning.
func (a *App) report(r *shutdown.Report, plan shutdown.Plan) error {
	level := slog.LevelInfo
	if r.Err() != nil {
		level = slog.LevelError
	}
	name, f := "OnReport", a.OnReport
	if f == nil {
		a.log().Log(context.Background(), level, "shutdown", "report", r)
		if !term.IsTerminal(os.Stderr) {
			return nil
		}
		name, f = "timeline", func(r *shutdown.Report) { _ = r.WriteTimeline(os.Stderr) }
	}

	// Out of what is left, and never nothing.
	budget := min(plan.Reserve, time.Until(a.deadline))
	budget = max(budget, plan.Grace/200)
	c := goCall(name, func() error { f(r); return nil }, nil)
	if c.endsWithin(budget) {
		if isPanic(c.err) {
			a.logPanic(c.err)
		}
		return c.err
	}
	return fmt.Errorf("pid1: %s did not return within %s, left behind: %w", name, budget, context.DeadlineExceeded)
}

// atTheEnd bounds a wait after the stop by what is left of the grace period. What is
// nearly done gets a little time in any case.
func (a *App) atTheEnd(wait time.Duration) time.Duration {
	if a.deadline.IsZero() {
		return wait
	}
	return min(wait, max(time.Until(a.deadline), shortWait/20))
}

// result is what Run returns: what forced the stop, the reason for the stop if
// that is an error, and what went wrong in it.
func (a *App) result(s *stop, r *shutdown.Report, reportErr error) error {
	var forced error
	failures, by := s.outcome()
	if by != nil && r.Forced {
		forced = &forcedError{by}
	}
	errs := append([]error{forced}, failures...)
	if len(failures) == 0 {
		errs = append(errs, s.servers.interrupted(s.reason())...)
	}
	return join(append(errs, r.Err(), reportErr)...)
}

// A forcedError is ErrForced, with the signal. It does not unwrap to that: whoever
// ignores context.Canceled must not ignore this.
type forcedError struct{ by error }

func (e *forcedError) Error() string        { return ErrForced.Error() + ": " + e.by.Error() }
func (e *forcedError) Is(target error) bool { return target == ErrForced }
func (e *forcedError) As(target any) bool   { return asSignal(e.by, target) }

// join is errors.Join that leaves a single error as it is.
func join(errs ...error) error {
	var all []error
	for _, err := range errs {
		if err != nil {
			all = append(all, err)
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	return errors.Join(all...)
}

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
	n := len(o.steps)
	o.mu.Unlock()
	return n
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
