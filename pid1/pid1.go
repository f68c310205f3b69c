// SPDX-License-Identifier: MIT

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
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/asynclog"
	"github.com/entrypoint-go/entrypoint/reaper"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// Run runs the servers until SIGTERM, SIGINT or the end of ctx, and returns nil
// after a clean stop. It logs the error that it returns; pass that to [Exit]. It is
// new(App).Run.
func Run(ctx context.Context, srv ...Server) error { return new(App).Run(ctx, srv...) }

// App is Run with settings. The zero value is ready to use. Set the fields before
// Run. The methods may be called at any time by any goroutine, except Before and
// OnReady.
//
// # Stop
//
// A stop signal, the end of Run's ctx, a server that returns, or the end of the
// last [Job] begins the one stop of an App:
//
//   - Ready turns false and Stopping is closed. The steps of OnStop run.
//   - During the Delay the servers go on, and answer with Connection: close
//     (HTTP/2: GOAWAY).
//   - All servers are stopped at once, unless [InOrder] says otherwise. An
//     *http.Server closes its listener first, serves accepted connections for up
//     to 100 ms more, waits for the requests in flight and, shortly before the
//     deadline, cancels their contexts. If a signal began the stop and there is
//     no terminal, a keep-alive connection whose client asks at a steady pace
//     stays open for its next request: for 2 s, or a fifth of the time that the
//     server has, if that is less.
//   - The hooks of Shutdown run, last in first out.
//   - As PID 1: processes that are left get SIGTERM and, at the deadline, SIGKILL.
//     Then clients receive what is still on its way to them: the network of a
//     container ends with PID 1.
//
// All of it ends inside Shutdown.Grace, and a report says where the time went. A
// function, server or request that does not end in time is left behind, and reported
// with the stacks of its goroutines.
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
// is set, also WATCHDOG=1 while Run runs. A service manager that reads late holds
// nothing up and gets what has changed, until Run returns. See sd_notify(3).
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

	// Delay is how long the servers go on after a stop begins, because load
	// balancers notice it late. App.Ready is false meanwhile; what a probe is told
	// is at ReadyHandler. If one of the servers takes requests, zero means 5 s in
	// Kubernetes ($KUBERNETES_SERVICE_HOST is set), or half of the grace if that is
	// less; elsewhere none. Negative means none. There is no delay after Ctrl-C on
	// a terminal, and none when a server has returned or the last Job is done.
	// There is none before the App is Ready, unless a step of OnReady has succeeded
	// or is interrupted: it may have registered the service. It is shorter, and the
	// log says so, if the steps after it need the rest of the grace.
	Delay time.Duration

	// Quiet ends the delay early, after this long without a new request to an
	// *http.Server; it has nothing to do with logs. Requests to ReadyHandler and Kubernetes's probes do not count.
	// Zero means that the delay is not shortened.
	Quiet time.Duration

	// OnReport is called with the report of the stop before Run returns. Its times
	// count from the beginning of the stop. If OnReport does not return within
	// Shutdown's Reserve, Run returns without it, with an error. Nil means one log
	// record, and the timeline on stderr when that is a terminal.
	OnReport func(*shutdown.Report)

	// Logger is for what happens at start and stop. It is called from a goroutine
	// of its own: nothing waits for it. Nil means slog.Default(). Shutdown and
	// Reaper use it too unless they have their own.
	Logger *slog.Logger

	before  []preflight
	onReady []preflight
	onStop  onStop
	ran     atomic.Bool
	over    atomic.Bool          // Run has returned, or is about to
	current atomic.Pointer[stop] // of Run; nil before
	caught  []chan os.Signal     // the channels of signal.Notify

	stoppingOnce sync.Once
	stopping     context.Context // made by stopContext
	endStopping  context.CancelCauseFunc
	deadline     time.Time // of Run, once the stop has begun
	recordsOnce  sync.Once
	records      *asynclog.Handler // made by log

	arrivals arrivals
}

// Run runs the servers until a stop, described at [App], has ended. It returns nil
// after a clean stop: by signal, by the end of ctx, by a server that returned nil,
// or by the last Job. If the stop begins before anything listens, nothing is
// served and the hooks run. Otherwise Run returns, and has logged, what went wrong:
//
//   - a [ServerError] when a server could not start or ended with an error,
//   - the error of a step of Before or OnReady,
//   - the [shutdown.HookError] of each step of the stop that failed, and of a
//     function of yours that panicked,
//   - ErrForced when a second signal cut the stop short,
//   - an error that names the field or variable whose value cannot be used.
//
// For half a second after Run the signals are still caught: the stop signal may
// come twice. An App runs once. It takes over the *http.Servers: it wraps their Handler,
// ConnState, ConnContext and BaseContext, which still call yours. So set the fields
// before Run. ErrorLog gets all but the handshakes that the stop has ended. The
// functions of RegisterOnShutdown are called once, after the idle connections are
// ended, or a second later if a client holds that up; nobody waits for their goroutines,
// and a panic in one is an error of Run.
func (a *App) Run(ctx context.Context, srv ...Server) error {
	return a.once(func() error { return a.run(ctx, srv) })
}

// once calls run with what Run and RunIsolated promise about logs and errors.
func (a *App) once(run func() error) error {
	if a.ran.Swap(true) {
		err := errors.New("pid1: App.Run called twice: an App runs once, make a new one")
		a.log().Error("not started", "error", err)
		a.records.Flush(shortWait)
		return &logged{err, exitError}
	}
	a.shareLogger()
	a.catchPipe()
	defer a.stopCatching()
	err := run()
	a.over.Store(true)
	if err != nil {
		code := boundedExitCode(err, a.atTheEnd(10*shortWait)) // a wrong one is worse than a late one
		a.log().Error("stopped", "error", err, "exit_code", code)
		err = &logged{err, code}
	}
	a.flush()
	return err
}

// flush waits for the log, and for that of a Reaper with its own.
func (a *App) flush() {
	wait := shortWait
	if s := a.current.Load(); s != nil && !s.isForced() {
		wait = time.Second // on a starved machine the last record may need it
	}
	wait = a.atTheEnd(wait)
	until := time.Now().Add(wait)
	a.records.Flush(wait)
	if h, ok := a.Reaper.Logger.Handler().(*asynclog.Handler); ok {
		h.Flush(time.Until(until))
	}
}

// shortWait is how long Run waits at most for what may hang: the log at the end of a
// forced stop, and methods of a user's errors.
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
	servers, invalid := newServers(srv)
	s := newStop(ctx, a, servers)

	// Signals first: one that arrives before ends the process, and no hook runs.
	defer a.watch(s)()
	ignoreContext := context.AfterFunc(ctx, func() { s.contextEnded(context.Cause(ctx)) })
	defer ignoreContext()
	defer a.reap()()
	defer s.manager.listen()()

	// A start that fails is a stop that begins, with the same hooks to run.
	err := invalid
	var running *shutdown.Hook
	if err == nil {
		running, err = a.start(s)
	}
	if err != nil {
		s.fail(err)
	}
	<-s.begun
	return a.stop(s, running)
}

// start brings the servers up. A stop that begins meanwhile is not an error; the
// Before step that it has interrupted may still be running.
func (a *App) start(s *stop) (running *shutdown.Hook, err error) {
	environment := inspectInit()
	a.log().Info("starting", "process", environment.process(), "pid1", environment.pid1())
	if environment.ShellForm || environment.ShellScript {
		a.log().Warn(`PID 1 is a shell that does not forward SIGTERM: write ENTRYPOINT ["program", "argument"] (exec form), ` +
			"or start this program with exec in the shell")
	}
	a.warnOfEmbedded(s.servers.all())

	// Refuse bad input before anything else is done.
	if err := a.checkSignals(); err != nil {
		return nil, err
	}
	if _, err := a.plan(s); err != nil {
		return nil, err
	}
	if running, err := a.runSteps(s, "before", a.before); running != nil || err != nil {
		return running, err
	}
	delay, err := a.plan(s) // with the hooks that the steps have added
	if err != nil {
		return nil, err
	}
	a.Shutdown.Reserve = s.plan.Reserve // which may be less than the default, to fit
	return a.serve(s, delay)
}

// plan divides the grace period. If that is impossible the hooks run by the
// defaults, without an error of their own.
func (a *App) plan(s *stop) (delay, error) {
	extra := 1
	for _, p := range *s.servers {
		extra = max(extra, len(p.members)) // which stop one after the other
	}
	extra += a.onStop.count()
	if IsInit() {
		extra += 2 // the steps "processes" and "bytes"
	}
	plan, _ := a.Shutdown.Plan(0, 0)
	delay := a.delayFor(s.servers.all(), plan.Grace)
	plan, err := a.Shutdown.Plan(delay.d, extra)
	s.plan = plan
	if err != nil {
		a.Shutdown.Grace, a.Shutdown.Reserve = plan.Grace, plan.Reserve
		return delay, fmt.Errorf("pid1: App.Shutdown: %w", err)
	}
	return delay, nil
}

// serve binds all servers, then starts them all, and runs the steps of OnReady.
func (a *App) serve(s *stop, delay delay) (running *shutdown.Hook, err error) {
	servers := s.servers.all()
	for _, p := range servers {
		warn := func(message string) { a.log().Warn(message, "server", p.name) }
		p.prepare(context.WithoutCancel(s.start), a.arrivals.count, warn)
	}
	if stopped, err := checkAll(s, servers); stopped || err != nil {
		return nil, err
	}
	for _, p := range servers {
		if s.start.Err() != nil {
			return nil, nil
		}
		if err := p.bind(s.start); err != nil {
			if s.start.Err() != nil {
				return nil, nil
			}
			return nil, err
		}
	}
	if !s.startServing(delay, len(a.onReady) == 0 && !slices.ContainsFunc(servers, (*serverState).startsLate)) {
		return nil, nil
	}
	serveAll(s, servers)
	serving := s.servers.String()
	a.log().Info("serving", "servers", serving, "plan", s.plan.String())
	for i := range a.onReady {
		s.announced(true) // in a directory, perhaps: the step may have succeeded when it is interrupted
		if running, err := a.runSteps(s, "OnReady", a.onReady[i:i+1]); running != nil || err != nil {
			s.announced(i > 0 || err == nil)
			return running, err
		}
	}
	if s.becomeReady() {
		s.manager.tell("READY=1", "STATUS=serving "+serving)
	}
	return nil, nil
}
