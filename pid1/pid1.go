// Package pid1 runs servers as the main job of a process, which may be PID 1 of a
// container. It handles signals, drains servers, runs shutdown hooks and returns
// what main should exit with:
//
//	srv := &http.Server{Addr: ":8080", Handler: mux}
//	os.Exit(pid1.ExitCode(pid1.Run(context.Background(), srv)))
//
// Use an [App] for hooks, preflight checks, readiness and settings.
package pid1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/asynclog"
	"github.com/entrypoint-go/entrypoint/reaper"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// Run runs the servers until SIGTERM, SIGINT or the end of ctx, and returns nil
// after a clean stop. It logs the error that it returns: main only needs
// [ExitCode]. It is new(App).Run.
func Run(ctx context.Context, srv ...Server) error { return new(App).Run(ctx, srv...) }

// App is Run with settings. The zero value is ready to use. Set the fields before
// Run. The methods may be called at any time by any goroutine, except Before.
//
// # Stop
//
// A stop signal, the end of Run's ctx, a server that returns, or the end of the
// last [Job] begins the one stop of an App:
//
//   - Ready turns false and Stopping is closed. During the Delay the servers go
//     on, and answer with Connection: close (HTTP/2: GOAWAY).
//   - All servers are stopped at once. An *http.Server closes its listener first,
//     serves accepted connections for up to 100 ms more, waits for the requests in
//     flight and, shortly before the deadline, cancels their contexts. After a
//     signal, and without a terminal, connections whose next request is due are
//     served on for up to 2 s, or a fifth of the grace.
//   - The hooks of Shutdown run, last in first out.
//   - As PID 1: processes that are left get SIGTERM and, at the deadline, SIGKILL.
//
// All of it ends inside Shutdown.Grace, and a report says where the time went.
//
// During the delay, a second stop signal ends the delay. After it, or where there
// is none, the next one forces the stop: contexts are cancelled, servers are
// closed, the remaining hooks are skipped, and Run returns [ErrForced]. Signals
// less than half a second apart count as one, since wrappers often send a stop
// twice. In Kubernetes only the first SIGTERM counts: send SIGINT to force a stop.
//
// # systemd
//
// Where $NOTIFY_SOCKET is set, the service manager is sent READY=1, RELOADING=1
// around OnHangup, and STOPPING=1 with EXTEND_TIMEOUT_USEC; where $WATCHDOG_USEC
// is set, also WATCHDOG=1 while Run runs. See sd_notify(3).
type App struct {
	// Shutdown holds the hooks, see [shutdown.Pipeline.Defer], and their budget.
	Shutdown shutdown.Pipeline

	// Reaper collects orphans. It runs when the process is PID 1 of its PID
	// namespace, or when Reaper.Subreaper is set.
	Reaper reaper.Reaper

	// Signals begin a stop. Nil means SIGTERM and SIGINT. Empty means none: then
	// only ctx or a server begins a stop. Run returns an error for signals that
	// cannot be caught, or that arrive in ordinary operation (SIGURG, SIGCHLD,
	// SIGPIPE, SIGPROF).
	Signals []os.Signal

	// OnHangup is called on SIGHUP, to reload a configuration for instance. Its
	// ctx ends when a stop begins. One call runs at a time: signals that arrive
	// meanwhile cause one more. An error is logged; a panic begins a stop. Nil
	// means that SIGHUP goes to a [Child] if there is one, else it is logged and
	// ignored.
	OnHangup func(context.Context) error

	// Delay is how long the servers go on, not ready, after a stop begins: load
	// balancers learn of it late. Zero means 5 s in Kubernetes
	// ($KUBERNETES_SERVICE_HOST is set), or half of the grace if that is less, if
	// one of the servers takes requests; elsewhere none. Negative means none.
	// There is no delay after Ctrl-C on a terminal, and none when a server has
	// returned or the last Job is done.
	Delay time.Duration

	// Quiet ends the delay early, after this long without a new request to an
	// *http.Server. Requests to ReadyHandler and Kubernetes's probes do not count.
	// Zero means that the delay is not shortened.
	Quiet time.Duration

	// Isolate makes PID 1 a minimal init: Run starts this program once more, with
	// the same arguments and environment, and the servers run in that child.
	// PID 1 passes signals on as a [Child] gets them, collects orphans, and
	// returns from Run with the child's status. It is for programs whose C
	// libraries fork and wait by themselves: to those, and to
	// syscall.Wait4(-1, …), the orphans of a container are unknown children.
	//
	// What main does before Run is done in both processes, so call Run early.
	// Before steps and hooks run in the child only, OnReap in PID 1 only. Isolate
	// does nothing where the process is not PID 1.
	Isolate bool

	// OnReport is called with the report of the stop before Run returns. If it
	// does not return within Shutdown's Reserve, Run returns without it, with an
	// error. Nil means one log record, and the timeline on stderr when that is a
	// terminal.
	OnReport func(*shutdown.Report)

	// Logger is for what happens at start and stop. It is called from a goroutine
	// of its own: nothing waits for it. Nil means slog.Default(). Shutdown and
	// Reaper use it too unless they have their own.
	Logger *slog.Logger

	before []preflight
	ran    atomic.Bool
	ready  atomic.Bool

	stoppingOnce sync.Once
	stopping     chan struct{} // made by Stopping
	deadline     time.Time     // of Run, once the stop has begun
	recordsOnce  sync.Once
	records      *asynclog.Handler // made by log

	arrivals arrivals
}

// Ready reports whether the servers take requests: from when all of them listen
// until a stop begins. A Server of a type of your own counts as listening when its
// ListenAndServe is called; give it an open listener by [Listen] if it needs
// longer.
func (a *App) Ready() bool { return a.ready.Load() }

// Stopping returns a channel that is closed when a stop begins. Handlers of
// long-lived requests, such as WebSockets, should then say goodbye.
func (a *App) Stopping() <-chan struct{} {
	a.stoppingOnce.Do(func() { a.stopping = make(chan struct{}) })
	return a.stopping
}

// ReadyHandler answers a readiness probe: 200 while Ready, else 503. Do not use it
// for liveness: a process that drains is alive.
func (a *App) ReadyHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.arrivals.sawProbe(r)
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

// Run runs the servers until a stop, described at [App], has ended. It returns nil
// after a clean stop: by signal, by the end of ctx, by a server that returned nil,
// or by the last Job. If the stop begins before anything listens, nothing is
// served and the hooks run. Otherwise Run returns, and has logged, what went wrong:
//
//   - a [ServerError] when a server could not start or ended with an error,
//   - the error of a Before step,
//   - the [shutdown.HookError] of each step of the stop that failed, and of a
//     function of yours that panicked,
//   - ErrForced when a second signal cut the stop short,
//   - an error that names the field or variable whose value cannot be used.
//
// For half a second after Run the signals are still caught: the stop signal may
// come twice. An App runs once. It takes over the *http.Servers: it wraps their Handler,
// ConnState, ConnContext and BaseContext, which still call yours.
func (a *App) Run(ctx context.Context, srv ...Server) error {
	if a.ran.Swap(true) {
		err := errors.New("pid1: App.Run called twice: an App runs once, make a new one")
		a.log().Error("not started", "error", err)
		a.records.Flush(shortWait)
		return &logged{err, exitError}
	}
	a.shareLogger()
	defer catchPipe()()
	err := a.run(ctx, srv)
	if err != nil {
		code := boundedExitCode(err)
		a.log().Error("stopped", "error", err, "exit_code", code)
		err = &logged{err, code}
	}
	a.flush()
	return err
}

// flush waits for the log, and for that of a Reaper with its own.
func (a *App) flush() {
	wait := shortWait
	if !a.deadline.IsZero() {
		wait = min(wait, max(time.Until(a.deadline), shortWait/20)) // all is written in that, mostly
	}
	until := time.Now().Add(wait)
	a.records.Flush(wait)
	if h, ok := a.Reaper.Logger.Handler().(*asynclog.Handler); ok {
		h.Flush(time.Until(until))
	}
}

// shortWait is how long Run waits at most for what may hang: the log at its end,
// and methods of a user's errors.
const shortWait = 100 * time.Millisecond

// log returns Logger, or slog's default, behind a queue: nobody waits for it.
func (a *App) log() *slog.Logger {
	a.recordsOnce.Do(func() {
		var target slog.Handler // nil is slog.Default's
		if a.Logger != nil {
			target = a.Logger.Handler()
		}
		a.records = asynclog.New(target)
	})
	return slog.New(a.records)
}

// shareLogger hands the log to those without one, and puts a queue before that of
// the Reaper. The Pipeline does so itself.
func (a *App) shareLogger() {
	if a.Shutdown.Logger == nil {
		a.Shutdown.Logger = a.log()
	}
	if a.Reaper.Logger == nil {
		a.Reaper.Logger = a.log()
	} else {
		a.Reaper.Logger = slog.New(asynclog.New(a.Reaper.Logger.Handler()))
	}
}

func (a *App) run(ctx context.Context, srv []Server) error {
	if a.Isolate && IsInit() {
		return a.isolate(ctx)
	}
	servers, invalid := newServers(srv)
	s := newStop(ctx, a)
	for _, p := range servers {
		if p.job {
			s.jobs++
		}
	}

	// Signals first: one that arrives before its handler is lost for PID 1.
	unwatch := a.watch(s, servers)
	defer unwatch()
	ignoreContext := context.AfterFunc(ctx, func() { s.contextEnded(context.Cause(ctx)) })
	defer ignoreContext()
	defer a.reap()()
	defer a.keepAlive()()

	// A start that fails is a stop that begins, with the same hooks to run.
	err := invalid
	var running *shutdown.Hook
	if err == nil {
		running, err = a.start(s, servers)
	}
	if err != nil {
		s.fail(err)
	}
	<-s.begun
	return a.stop(s, servers, running)
}

// start brings the servers up. A stop that begins meanwhile is not an error; the
// Before step that it has interrupted may still be running.
func (a *App) start(s *stop, servers []*serverState) (running *shutdown.Hook, err error) {
	environment := inspectInit()
	if warning := environment.Warning(); warning != "" {
		a.log().Warn(warning)
	} else {
		a.log().Info("starting", "process", environment.process(), "pid1", environment.pid1())
	}

	// Refuse bad input before anything else is done.
	if err := a.checkSignals(); err != nil {
		return nil, err
	}
	if _, _, err := a.plan(servers); err != nil {
		return nil, err
	}
	if running, err := a.check(s); running != nil || err != nil {
		return running, err
	}
	delay, plan, err := a.plan(servers) // with the hooks that the steps have added
	if err != nil {
		return nil, err
	}
	a.Shutdown.Reserve = plan.Reserve // which may be less than the default, to fit
	return nil, a.serve(s, servers, delay, plan)
}

// plan divides the grace period. If that is impossible the hooks run by the
// defaults, without an error of their own.
func (a *App) plan(servers []*serverState) (delay, shutdown.Plan, error) {
	extra := 1 // the servers' step
	if IsInit() {
		extra++ // the processes' step
	}
	plan, _ := a.Shutdown.Plan(0, 0)
	delay := a.delayFor(servers, plan.Grace)
	plan, err := a.Shutdown.Plan(delay.d, extra)
	if err != nil {
		a.Shutdown.Grace, a.Shutdown.Reserve = plan.Grace, plan.Reserve
		return delay, plan, fmt.Errorf("pid1: App.Shutdown: %w", err)
	}
	return delay, plan, nil
}

// serve binds all servers, then starts them all.
func (a *App) serve(s *stop, servers []*serverState, delay delay, plan shutdown.Plan) error {
	for _, p := range servers {
		p.prepare(context.WithoutCancel(s.start), a.arrivals.count)
	}
	if stopped, err := checkAll(s, servers); stopped || err != nil {
		return err
	}
	for _, p := range servers {
		if s.start.Err() != nil {
			return nil
		}
		if err := p.bind(s.start); err != nil {
			if s.start.Err() != nil {
				return nil
			}
			return err
		}
	}
	if !s.becomeReady(delay) {
		return nil
	}
	for _, p := range servers {
		p.serve(s)
	}
	a.log().Info("serving", "servers", names(servers), "plan", plan.String())
	if s.reason() == nil {
		a.systemd("READY=1", "STATUS=serving "+names(servers))
	}
	return nil
}
