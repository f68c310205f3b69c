// SPDX-License-Identifier: MIT

package pid1

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// Ready reports whether the servers take requests: from when all of them listen,
// programs run, and the steps of OnReady are done, until a stop begins. A Server of
// a type of your own counts as listening when its ListenAndServe is called; give it
// an open listener by [Listen] if it needs longer.
func (a *App) Ready() bool {
	s := a.current.Load()
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready && s.cause == nil
}

// Stopping returns a channel that is closed when a stop begins. Handlers of
// long-lived requests, such as WebSockets, should then say goodbye; for those that
// watch their context there is [App.EndOnStop].
func (a *App) Stopping() <-chan struct{} { return a.stopContext().Done() }

// stopContext ends when a stop begins, with its cause.
func (a *App) stopContext() context.Context {
	a.stoppingOnce.Do(func() { a.stopping, a.endStopping = context.WithCancelCause(context.Background()) })
	return a.stopping
}

// A Check is something that must hold for a process to be ready, such as a database
// that answers. See [App.ReadyHandler].
type Check struct {
	Name string // in the response and in the log
	Func func(context.Context) error

	// Timeout is when Func's ctx ends, and when a Func that has not returned has
	// failed. Zero means 900 ms: Kubernetes waits for a probe for a second.
	Timeout time.Duration
}

const (
	checkTimeout = 900 * time.Millisecond
	checkFresh   = time.Second
)

// ReadyHandler answers a readiness probe: 200 while Ready and no check fails, else
// 503. In Kubernetes, when SIGTERM began the stop, it goes on with 200 until the
// delay is over: the pod leaves its Services anyway, and where it is the last one,
// requests are still sent to it as long as its probe passes. Do not use ReadyHandler
// for liveness: a process that drains is alive.
//
// The checks run at the same time, when a probe comes and the last result is more
// than a second old; probes that come meanwhile wait for the same result. A check
// that hangs has failed, and is not called again until it has returned. The body
// lists the names of the checks that fail, and how. Errors are not for everybody
// who can reach the port: they are logged, when a check begins to fail.
//
// Check only what this process cannot do without and its other replicas may still
// have: when a database is down for all of them, a Service without endpoints helps
// nobody. ReadyHandler panics when a check has no Func.
func (a *App) ReadyHandler(checks ...Check) http.Handler {
	c := &checkSet{app: a, checks: make([]check, len(checks))}
	for i := range checks {
		if checks[i].Func == nil {
			panic(fmt.Sprintf("pid1: ReadyHandler: check %q has no Func", checks[i].Name))
		}
		c.checks[i].Check = checks[i]
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.arrivals.sawProbe(r)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		failures := ""
		if a.answersReady() {
			failures = c.run()
		}
		if failures != "" || !a.answersReady() {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "not ready\n"+failures)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
}

// answersReady is what a readiness probe is told, apart from the checks.
func (a *App) answersReady() bool { return a.Ready() || a.stillRouted() }

// stillRouted reports whether Kubernetes has begun to end the pod, and the delay
// lasts. Then readiness no longer takes the pod out of its Services, since being
// terminating does; but kube-proxy falls back on terminating pods that are ready
// when there are no others (KEP-1669). A stop that began otherwise is not known to
// Kubernetes: there the probe has to fail.
func (a *App) stillRouted() bool {
	s := a.current.Load()
	if s == nil || !inKubernetes() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	by, ok := s.cause.(*SignalError)
	return ok && by.Signal == syscall.SIGTERM && s.delayEnd != nil && s.ready
}

// A checkSet is the checks of one ReadyHandler.
type checkSet struct {
	app *App

	mu       sync.Mutex // guards the rest; held while the checks run
	checks   []check
	failures string    // a line for each check that fails
	until    time.Time // when failures is too old
}

// A check is a Check and its last call.
type check struct {
	Check
	call    *call // nil before the first
	until   time.Time
	failing bool
}

// run returns a line for each check that fails.
func (c *checkSet) run() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.checks) == 0 || time.Now().Before(c.until) {
		return c.failures
	}
	for i := range c.checks {
		c.checks[i].start()
	}
	c.failures = ""
	for i := range c.checks {
		if failure := c.checks[i].result(c.app); failure != "" {
			c.failures += c.checks[i].Name + ": " + failure + "\n"
		}
	}
	c.until = time.Now().Add(checkFresh)
	return c.failures
}

// start calls the check, unless a call still runs.
func (c *check) start() {
	if c.call != nil && !c.call.ended() {
		return
	}
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = checkTimeout
	}
	c.until = time.Now().Add(timeout)
	ctx, cancel := context.WithDeadline(context.Background(), c.until)
	c.call = goCall("check "+c.Name, func() error { return c.Func(ctx) }, func(error) { cancel() })
}

// result waits for the call and returns what is wrong, in a few words.
func (c *check) result(a *App) (failure string) {
	var err error
	switch {
	case !c.call.endsWithin(time.Until(c.until)):
		failure, err = "no answer in time", context.DeadlineExceeded
	case isPanic(c.call.err):
		failure, err = "panicked", c.call.err
	case c.call.err != nil:
		failure, err = "failed", c.call.err
	}
	if failing := err != nil; failing != c.failing {
		c.failing = failing
		if isPanic(err) {
			a.logPanic(err)
		}
		if failing {
			a.log().Warn("not ready: a check fails", "check", c.Name, "error", err)
		} else {
			a.log().Info("a check passes again", "check", c.Name)
		}
	}
	return failure
}

// EndOnStop is for handlers of long-lived requests that watch only their context:
// server-sent events (SSE), long polls, streams. It ends the contexts of h's
// requests when the stop begins; context.Cause says why, as [SignalError] for
// instance. A request that comes later, in the delay, gets a context that has ended.
// Without EndOnStop they end shortly before the stop's deadline.
//
// Use it for such handlers only: what watches its context because its client may
// leave would be cut off, too.
func (a *App) EndOnStop(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := a.UntilStopping(r.Context(), 0)
		defer cancel()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// UntilStopping returns a copy of ctx that also ends when a stop has begun and
// after has passed since then, or since the call if that is later, for a last
// message to be sent; context.Cause then says why the stop began. It is for what a
// client never ends: a watch, a subscription, server-sent events. Cancel it when the
// work is done.
func (a *App) UntilStopping(ctx context.Context, after time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stopping := a.stopContext()
	end := func() { cancel(context.Cause(stopping)) }
	if stopping.Err() != nil && after <= 0 {
		end() // before its user looks
	}
	forget := context.AfterFunc(stopping, func() { time.AfterFunc(after, end) })
	return ctx, func() {
		forget()
		cancel(nil)
	}
}

// Stats are numbers for a dashboard.
type Stats struct {
	Phase    string // "" before Run, then "starting", "serving", "stopping", "stopped"
	Ready    bool
	InFlight int    // requests to *http.Servers whose handlers run
	Reaped   uint64 // orphans that were collected
}

// Stats returns the current numbers. It takes a lock for each open connection.
func (a *App) Stats() Stats {
	s := Stats{Phase: a.phase(), Ready: a.Ready(), Reaped: a.Reaper.Stats().Reaped}
	counted := map[*http.Server]bool{} // one may have several listeners
	for _, p := range a.servers() {
		if h, ok := p.server.(*httpServer); ok && !counted[h.srv] {
			counted[h.srv] = true
			s.InFlight += h.inFlight()
		}
	}
	return s
}

func (a *App) phase() string {
	s := a.current.Load()
	switch {
	case !a.ran.Load():
		return ""
	case a.over.Load():
		return "stopped"
	case s == nil:
		return "starting"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.cause != nil:
		return "stopping"
	case s.serving:
		return "serving"
	}
	return "starting"
}

// servers are those of Run: none before.
func (a *App) servers() []*serverState {
	if s := a.current.Load(); s != nil {
		return s.servers.all()
	}
	return nil
}

func (h *httpServer) inFlight() int {
	if d := h.drain.Load(); d != nil {
		return d.InFlight()
	}
	return 0
}
