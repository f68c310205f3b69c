// SPDX-License-Identifier: MIT

package pid1

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/goroutine"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// Func makes a Server of a worker, such as a queue consumer. Its ctx ends when it
// should stop, after any [App.Delay]; context.Cause(ctx) says why. It then has as
// much time to finish as a server has. What it returns after that is reported as an
// error, unless it is nil, ctx's error or its cause.
//
// A worker that returns by itself stops the App: cleanly with nil, else with a
// [ServerError]. For work that has an end, use [Job].
func Func(run func(ctx context.Context) error) Server { return newWorker(run, nil) }

// Job makes a Server of work that has an end: a migration, a batch, a test. When
// the last Job of an App has returned nil the App stops cleanly; other servers go
// on until then. A Job that returns an error stops the App with a [ServerError].
//
// A Job that a stop interrupts, before it has begun or while it runs, is not
// done, whatever it returns then: [ExitCode] is 128+n if signal n began the stop,
// else 1. So Kubernetes does not take an evicted Job for complete. Func and Job
// panic when run is nil.
func Job(run func(ctx context.Context) error) Server { return newWorker(run, job{}) }

// A worker is the Server that Func and Job make.
type worker struct {
	run    func(context.Context) error
	job    jobRules // nil for a Func
	ctx    context.Context
	cancel context.CancelCauseFunc
	once   sync.Once
	done   chan struct{} // closed when run has returned
}

func newWorker(run func(context.Context) error, job jobRules) *worker {
	if run == nil {
		panic("pid1: Func or Job: nil function")
	}
	w := &worker{run: run, job: job, done: make(chan struct{})}
	w.setContext(context.Background())
	return w
}

func (w *worker) name() string {
	if w.job != nil {
		return "job"
	}
	return "worker"
}

func (w *worker) setContext(ctx context.Context) { w.ctx, w.cancel = context.WithCancelCause(ctx) }

func (w *worker) ListenAndServe() error {
	defer w.once.Do(func() { close(w.done) })
	return w.run(w.ctx)
}

func (w *worker) Shutdown(ctx context.Context) error {
	w.cancel(stopCause(ctx))
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *worker) kill() { w.cancel(context.Canceled) }

// jobRules are what a job has beyond a worker. They are an interface so that only
// programs that call Job link them.
type jobRules interface {
	ended(s *stop, p *serverState) // p's job has returned nil
	interrupted(name string, cause error) error
}

type job struct{}

// jobsDone is why an App stops whose jobs are done.
type jobsDone struct{}

func (*jobsDone) Error() string { return "all jobs are done" }

// ended notes that a job is done. The end of the last one begins the stop.
func (job) ended(s *stop, p *serverState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return // the stop has interrupted it
	}
	p.completed = true
	for _, p := range s.servers.all() {
		if p.job != nil && !p.completed {
			return
		}
	}
	s.beginLocked(&jobsDone{}, nil)
}

func (job) interrupted(name string, cause error) error { return &interruptedError{name, cause} }

// interruptedError says that a stop came before a job was done.
type interruptedError struct {
	job   string
	cause error
}

func (e *interruptedError) Error() string {
	return "job " + e.job + " was interrupted: " + e.cause.Error()
}

// As finds the signal. There is no Unwrap: the cause may be context.Canceled, and
// whoever ignores that must not ignore this.
func (e *interruptedError) As(target any) bool { return asSignal(e.cause, target) }

// Service makes a Server of two functions: one that serves until it is stopped,
// and one that stops it gracefully. It is for servers and consumers of other
// libraries:
//
//	pid1.Service(func() error { return fast.Serve(l) }, fast.ShutdownWithContext)
//
// serve returns when it has been stopped; if it returns before, the App stops, as
// with every [Server]. stop is called once, if serve was. It should return when all
// is done, at the latest when its ctx ends, and serve soon after it. In a forced
// stop its ctx has ended already.
//
// Once stop has been called, an error of serve does not count, since most libraries
// return one to say that they were closed. The error of stop does.
//
// The App does not know what serve does: in Kubernetes the Delay applies to it as
// to an *http.Server. For a handler that net/http can serve, prefer an *http.Server:
// only that is drained without losing a request. Service panics when a function is nil.
func Service(serve func() error, stop func(context.Context) error) Server {
	if serve == nil || stop == nil {
		panic("pid1: Service: nil function")
	}
	return &service{serve: serve, stop: stop}
}

type service struct {
	serve func() error
	stop  func(context.Context) error
	state atomic.Int32
}

const (
	serviceNew int32 = iota
	serviceServes
	serviceStopped
)

func (s *service) name() string { return "service" }

func (s *service) ListenAndServe() error {
	if !s.state.CompareAndSwap(serviceNew, serviceServes) {
		return nil // stopped before it began: nobody would stop it again
	}
	err := s.serve()
	if s.state.Load() == serviceStopped {
		return nil
	}
	return err
}

func (s *service) Shutdown(ctx context.Context) error {
	if s.state.Swap(serviceStopped) == serviceServes {
		return s.stop(ctx)
	}
	return nil
}

// kill is for a stop that is forced before Shutdown was called.
func (s *service) kill() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Shutdown(ctx) // nothing is left to do about an error
}

// A call is a function of the user's that runs in a goroutine of its own. Nobody
// else is harmed if it hangs; if it panics or calls runtime.Goexit, that is its
// error.
type call struct {
	done   chan struct{} // closed when the function has ended
	err    error
	number chan string // of its goroutine, once that runs; who reads it puts it back
}

// goCall calls f, and then after with its error. after may be nil.
func goCall(name string, f func() error, after func(error)) *call {
	c := &call{done: make(chan struct{}), number: make(chan string, 1)}
	go func() {
		defer close(c.done)
		c.number <- goroutine.Current()
		returned := false
		defer func() {
			if !returned {
				c.err = notReturned(name, recover())
			}
			if after != nil {
				after(c.err)
			}
		}()
		c.err = f()
		returned = true
	}()
	return c
}

// wait waits for the end of the call and returns its error. It is for a step of
// the stop: if the call does not end in time, the step is Stuck, with the stack
// of the call.
func (c *call) wait(ctx context.Context) error {
	c.blame(ctx, "")
	<-c.done
	return c.err
}

// blame says that the step waits for the call, and for others, and why.
func (c *call) blame(ctx context.Context, what string, others ...string) {
	number := <-c.number
	c.number <- number
	goroutine.WaitFor(ctx, what, append(others, number)...)
}

// endsWithin waits for the end of the call, for a short time. In a process that has
// not run for so long, by a CPU quota for instance, the call has had no time yet: it
// gets a few moments, in each of which this process runs.
func (c *call) endsWithin(d time.Duration) bool {
	const moments = 5
	moment := min(d/20, 2*time.Millisecond)
	for i := 0; i <= moments && !c.ended(); i++ {
		select {
		case <-c.done:
		case <-time.After(d):
		}
		d = moment
	}
	return c.ended()
}

func (c *call) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// errorText is err's text, unless its methods panic or block.
func errorText(err error) string {
	text := ""
	c := goCall("error", func() error { text = err.Error(); return nil }, nil)
	if c.endsWithin(shortWait) && c.err == nil {
		return text
	}
	return fmt.Sprintf("an error of type %T, which has no text", err)
}

// notReturned is the error of a function that ended otherwise.
func notReturned(name string, recovered any) error {
	if recovered == nil {
		return errors.New("ended by runtime.Goexit")
	}
	return &shutdown.HookError{Name: name, Err: &panicError{recovered}, Panic: recovered, Stack: debug.Stack()}
}

// A panicError has the value of a panic. Its text is made when somebody asks for
// it: that of a value may need a lock which the function still holds.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// isPanic reports whether err is that of a call that panicked.
func isPanic(err error) bool {
	e, ok := err.(*shutdown.HookError)
	return ok && e.Panic != nil
}

// logPanic logs what a function of the user's panicked with. It may take shortWait.
func (a *App) logPanic(err error) {
	if e, ok := err.(*shutdown.HookError); ok {
		a.log().Error("panic", "in", e.Name, "panic", errorText(e.Err), "stack", string(e.Stack))
	}
}
