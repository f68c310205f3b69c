// Package pid1 runs servers as the main job of a process, which may be PID 1 of
// a container: signals, readiness, drain, shutdown hooks, exit code.
// It is to servers what [testing.M.Run] is to tests:
//
//	srv := &http.Server{Addr: ":8080", Handler: mux}
//	os.Exit(pid1.ExitCode(pid1.Run(context.Background(), srv)))
//
// Use an [App] for more than that: hooks, preflight checks, readiness.
package pid1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/term"
	"github.com/entrypoint-go/entrypoint/reaper"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// Run runs the servers until SIGTERM, SIGINT or the end of ctx, and returns nil
// after a clean stop. It has logged what it returns: main only needs [ExitCode].
// It is (&App{}).Run.
func Run(ctx context.Context, srv ...Server) error { return new(App).Run(ctx, srv...) }

// App is Run with settings. The zero value is ready to use. Set the fields
// before Run; the methods may be called at any time by any goroutine, Before
// excepted.
//
// # Stop
//
// A stop signal, the end of Run's ctx, or a server that returns begins the one
// stop of an App:
//
//   - Ready turns false and Stopping is closed. The servers go on during the
//     Delay, and answer with Connection: close (HTTP/2: GOAWAY).
//   - All servers are stopped at once. An *http.Server closes its listener
//     first, serves the connections it has accepted for up to 100 ms more,
//     waits for the requests in flight and, shortly before the deadline, cancels
//     their contexts. No request that it accepted is dropped before.
//   - The hooks of Shutdown run, last in first out.
//   - As PID 1: processes that are left get SIGTERM and, at the deadline, SIGKILL.
//
// All of it ends inside Shutdown.Grace, and a report says where the time went.
//
// A second stop signal ends the delay. If there is none, or it is over, the
// signal forces the stop: contexts are cancelled, servers are closed, the
// remaining hooks are skipped, and Run returns [ErrForced].
type App struct {
	// Shutdown holds the hooks, see [shutdown.Pipeline.Defer], and their budget.
	Shutdown shutdown.Pipeline

	// Reaper collects orphans. It runs when the process is PID 1 of its PID
	// namespace, or when Reaper.Subreaper is set.
	Reaper reaper.Reaper

	// Signals begin a stop. Nil means SIGTERM and SIGINT; empty means none.
	// Signals that cannot be handled, or mean something to Go itself (SIGURG,
	// SIGCHLD, SIGPIPE, SIGPROF), are refused.
	Signals []os.Signal

	// OnHangup is called on SIGHUP, to reload a configuration for instance; its
	// ctx ends when a stop begins. One call runs at a time: signals that arrive
	// meanwhile cause one more. Nil means that SIGHUP is logged and ignored. An
	// error is logged.
	OnHangup func(context.Context) error

	// Delay is how long the servers go on, not ready, after a stop begins: load
	// balancers learn only with a delay that they should send no more. Zero means
	// 5 s in Kubernetes ($KUBERNETES_SERVICE_HOST is set) if one of the servers
	// takes requests, else none. Negative means none. There is no delay after
	// Ctrl-C on a terminal, and none when a server has died.
	Delay time.Duration

	// Quiet ends the delay early, after this long without a new request to an
	// *http.Server. Requests to ReadyHandler, and those that Kubernetes's probes
	// make, do not count. Zero means that the delay is not shortened.
	Quiet time.Duration

	// Isolate makes PID 1 a minimal init: Run starts this program once more, with
	// the same arguments and environment, and the servers run in that child
	// process. PID 1 passes on every signal as a [Child] gets them, collects
	// orphans, and returns from Run with the child's status. It is for programs
	// whose C libraries fork and wait by themselves: to those, and to
	// syscall.Wait4(-1, …), the orphans of a container are unknown children.
	//
	// All that main does before Run is done in both processes, so call Run
	// early. What comes with Run, Before steps and hooks, happens in the child
	// only; OnReap is called in PID 1 only. Isolate does nothing where the
	// process is not PID 1; that is also how the child knows.
	Isolate bool

	// OnReport is called with the report of the stop, before Run returns. Nil
	// means one log record, and the timeline on stderr when that is a terminal.
	OnReport func(*shutdown.Report)

	// Logger is for what happens at start and stop. Nil means slog.Default().
	// Shutdown and Reaper use it too unless they have their own.
	Logger *slog.Logger

	before []preflight
	ran    atomic.Bool
	ready  atomic.Bool

	once     sync.Once
	stopping chan struct{} // made by Stopping

	arrivals arrivals
}

// A preflight is one step of Before.
type preflight struct {
	name string
	f    func(context.Context) error
}

// Before adds a step that must succeed before anything listens. Steps run in
// the order they were added. The ctx of a step ends when a stop begins;
// [shutdown.Within] gives it a deadline. The first error ends the start: Run
// returns it with the step's name, after the deferred hooks have run.
// Before must not be called after Run, nor with a nil f: it panics.
func (a *App) Before(name string, f func(context.Context) error) {
	if f == nil {
		panic(fmt.Sprintf("pid1: Before(%q): nil function", name))
	}
	if a.ran.Load() {
		panic(fmt.Sprintf("pid1: Before(%q) called after Run", name))
	}
	a.before = append(a.before, preflight{name, f})
}

// Ready reports whether the servers take requests: false before all of them
// listen, and from the first stop signal on.
func (a *App) Ready() bool { return a.ready.Load() }

// Stopping returns a channel that is closed when a stop begins. Handlers of
// long-lived requests, WebSockets for instance, should then say goodbye.
func (a *App) Stopping() <-chan struct{} {
	a.once.Do(func() { a.stopping = make(chan struct{}) })
	return a.stopping
}

// ReadyHandler answers a readiness probe: 200 while Ready, else 503. Never use
// it for liveness: Kubernetes would kill the process in the middle of its drain.
func (a *App) ReadyHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.arrivals.probed(r)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if !a.Ready() {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "not ready")
			return
		}
		fmt.Fprintln(w, "ready")
	})
}

// Run runs the servers until a stop, described at [App], has ended. It returns
// nil after a clean stop by signal or by the end of ctx, also when that comes
// before anything listens: then nothing is served, and the hooks run. Otherwise
// it returns, and has logged, what went wrong:
//
//   - a [ServerError] when a server could not start or ended by itself with an error,
//   - the error of a Before step,
//   - the [shutdown.HookError] of each step of the stop that failed,
//   - ErrForced when a second signal cut the stop short,
//   - an error that names the field or variable whose value cannot be used,
//     before anything listens.
//
// An App runs once. The *http.Servers given to it are its own from then on: their
// Handler, ConnState, ConnContext and BaseContext are wrapped, and call the old
// ones.
func (a *App) Run(ctx context.Context, srv ...Server) error {
	if a.ran.Swap(true) {
		err := errors.New("pid1: App.Run called twice: an App runs once, make a new one")
		a.log().Error("not started", "error", err)
		return err
	}
	err := a.run(ctx, srv)
	if err != nil {
		a.log().Error("stopped", "error", err, "exit_code", ExitCode(err))
	}
	return err
}

func (a *App) run(ctx context.Context, srv []Server) error {
	a.inheritLogger()
	if a.Isolate && IsInit() {
		return a.isolate(ctx)
	}
	parts, invalid := newParts(srv)
	s := newStop(ctx, a)

	// Signals first: one that arrives before its handler is lost for PID 1.
	unwatch := a.watch(s, parts)
	defer unwatch()
	stopOnEnd := context.AfterFunc(ctx, func() { s.begin(context.Cause(ctx), nil) })
	defer stopOnEnd()

	defer a.reap()()

	// A start that fails is a stop that begins, with the same hooks to run.
	err := invalid
	if err == nil {
		err = a.start(s, parts)
	}
	if err != nil && s.begin(err, err) {
		err = nil // told by the stop
	}
	<-s.begun
	return join(a.stop(s, parts), err)
}

// inheritLogger hands Logger down to those without one.
func (a *App) inheritLogger() {
	if a.Shutdown.Logger == nil {
		a.Shutdown.Logger = a.Logger
	}
	if a.Reaper.Logger == nil {
		a.Reaper.Logger = a.Logger
	}
}

// reap runs the reaper if it has anything to do, until the result is called.
func (a *App) reap() (end func()) {
	if !IsInit() && !a.Reaper.Subreaper {
		return func() {}
	}
	// The Reaper does this too, but in its own time: what is orphaned before
	// that is lost to it.
	undo := func() {}
	if !IsInit() {
		undo = becomeSubreaper()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Reaper.Run(ctx); err != nil {
			a.log().Warn("orphans are not collected", "error", err)
		}
	}()
	return func() {
		cancel()
		<-done
		undo()
	}
}

// start brings the servers up. A stop that begins meanwhile is not an error.
func (a *App) start(s *stop, parts []*part) error {
	environment := inspectInit()
	if warning := environment.Warning(); warning != "" {
		a.log().Warn(warning)
	} else {
		a.log().Info("starting", "process", environment.process(), "pid1", environment.pid1())
	}

	// Refuse bad input before anything else is done.
	if err := a.checkSignals(); err != nil {
		return err
	}
	s.wait = a.delay(parts)
	extra := 1 // the servers' step
	if IsInit() {
		extra++ // the processes' step
	}
	plan, err := a.Shutdown.Plan(s.wait, extra)
	if err != nil {
		// The hooks run by the defaults, without telling the same again.
		a.Shutdown.Grace, a.Shutdown.Reserve = plan.Grace, plan.Reserve
		return fmt.Errorf("pid1: App.Shutdown: %w", err)
	}
	a.Shutdown.Reserve = plan.Reserve // it may be smaller than the default, so that the delay fits

	for _, step := range a.before {
		if err := a.check(s, step); err != nil {
			return err
		}
	}
	return a.serve(s, parts, plan)
}

// check runs one step of Before. If a stop begins meanwhile, the step becomes
// the first one of the stop, with a budget of that.
func (a *App) check(s *stop, step preflight) error {
	if s.start.Err() != nil {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		err := errors.New("ended by runtime.Goexit")
		defer func() { done <- err }()
		err = step.f(s.start)
	}()

	select {
	case err := <-done:
		return a.checked(s, step, err)
	case <-s.begun:
	}
	s.checking = &shutdown.Hook{Name: "before " + step.name, Func: func(ctx context.Context) error {
		select {
		case err := <-done:
			return a.checked(s, step, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	return nil
}

// checked is the outcome of a step of Before. That it heeded its context when a
// stop began is none.
func (a *App) checked(s *stop, step preflight, err error) error {
	if err == nil || s.start.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("pid1: before %q: %w", step.name, err)
}

// serve binds all servers, then starts them all.
func (a *App) serve(s *stop, parts []*part, plan shutdown.Plan) error {
	for _, p := range parts {
		if c, ok := p.server.(contexter); ok {
			c.setContext(context.WithoutCancel(s.start))
		}
		if o, ok := p.server.(observer); ok {
			o.observe(a.arrivals.count)
		}
		if err := p.check(); err != nil {
			return err
		}
	}
	for _, p := range parts {
		if s.start.Err() != nil {
			return nil
		}
		if err := p.bind(s.start); err != nil {
			if s.start.Err() != nil && errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
	}
	if !s.serve() {
		return nil
	}
	for _, p := range parts {
		go p.serve(s.begin)
	}
	a.log().Info("serving", "servers", names(parts), "plan", plan.String())
	a.systemd("READY=1", "STATUS=serving "+names(parts))
	return nil
}

// stop runs the stop that has begun, and returns what Run returns.
func (a *App) stop(s *stop, parts []*part) error {
	cause := s.reason()
	a.log().Info("stopping", "cause", cause)
	plan, _ := a.Shutdown.Plan(0, 0) // its error has been told at the start
	a.systemd("STOPPING=1", "STATUS=stopping: "+cause.Error(), extendTimeout(plan.Grace))

	if !s.serving {
		for _, p := range parts {
			p.release()
		}
	}
	if IsInit() {
		a.Shutdown.DeferLast("processes", terminate)
	}

	report := a.Shutdown.Run(withStop(s.forced, s), a.firstSteps(s, parts)...)
	report.Cause = cause
	if report.Forced && s.serving {
		for _, p := range parts {
			p.kill()
		}
	}
	a.report(report)
	return a.result(s, report)
}

// firstSteps are those that end what still uses the things that hooks close.
func (a *App) firstSteps(s *stop, parts []*part) []shutdown.Hook {
	var steps []shutdown.Hook
	if s.delay() != nil {
		delay := func(ctx context.Context) error { a.waitDelay(ctx, s, parts); return nil }
		steps = append(steps, shutdown.Hook{Name: "delay", Func: delay, Timeout: s.wait + delaySlack})
	}
	if s.serving {
		steps = append(steps, stopStep(parts))
	}
	if s.checking != nil {
		steps = append(steps, *s.checking)
	}
	if running := s.hangupRunning(); running != nil {
		steps = append(steps, shutdown.Hook{Name: "OnHangup", Func: func(ctx context.Context) error {
			select {
			case <-running:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
	}
	return steps
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

// stopStep is the step that stops all servers at once.
func stopStep(parts []*part) shutdown.Hook {
	stops := make([]shutdown.Hook, len(parts))
	for i, p := range parts {
		stops[i] = shutdown.Hook{Name: p.name, Func: p.stop}
	}
	if len(stops) == 1 {
		return stops[0]
	}
	return shutdown.Hook{Name: "servers", Func: shutdown.Parallel(stops...)}
}

// report tells of the stop.
func (a *App) report(r *shutdown.Report) {
	if a.OnReport != nil {
		a.OnReport(r)
		return
	}
	level := slog.LevelInfo
	if r.Err() != nil {
		level = slog.LevelError
	}
	a.log().Log(context.Background(), level, "shutdown", "report", r)
	if term.IsTerminal(os.Stderr) {
		_ = r.WriteTimeline(os.Stderr) // a terminal that is gone needs no report
	}
}

// result is what Run returns: the reason for the stop, if that is an error, and
// what went wrong in it.
func (a *App) result(s *stop, r *shutdown.Report) error {
	var forced error
	if by := s.forcer(); by != nil && r.Forced {
		forced = fmt.Errorf("%w: %w", ErrForced, by)
	}
	return join(forced, s.failure(), r.Err())
}

// join is errors.Join that leaves a single error as it is.
func join(errs ...error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

func names(parts []*part) string {
	list := make([]string, len(parts))
	for i, p := range parts {
		list[i] = p.name
	}
	return strings.Join(list, ", ")
}

func (a *App) log() *slog.Logger {
	if a.Logger != nil {
		return a.Logger
	}
	return slog.Default()
}
