package pid1

import (
	"context"
	"sync"
)

// Func makes a Server of a worker, such as a queue consumer. Its ctx ends when it
// should stop, after any [App.Delay]; context.Cause(ctx) says why. It then has as
// long as a server has to finish. What it returns after that is reported as an
// error, unless it is nil, ctx's error or its cause.
//
// A worker that returns by itself stops the App: cleanly with nil, else with a
// [ServerError]. For work that has an end, use [Job].
func Func(run func(ctx context.Context) error) Server { return newWorker(run, false) }

// Job makes a Server of work that has an end: a migration, a batch, a test. When
// the last Job of an App has returned nil the App stops cleanly; other servers go
// on until then. A Job that returns an error stops the App with a [ServerError].
//
// A Job that a stop interrupts, before it has begun or while it runs, is not
// done, whatever it returns then: [ExitCode] is 128+n if signal n began the stop,
// else 1. So Kubernetes does not take an evicted Job for complete. Func and Job
// panic when run is nil.
func Job(run func(ctx context.Context) error) Server { return newWorker(run, true) }

// A worker is the Server that Func and Job make.
type worker struct {
	run    func(context.Context) error
	job    bool
	ctx    context.Context
	cancel context.CancelCauseFunc
	once   sync.Once
	done   chan struct{} // closed when run has returned
}

func newWorker(run func(context.Context) error, job bool) *worker {
	if run == nil {
		panic("pid1: Func or Job: nil function")
	}
	w := &worker{run: run, job: job, done: make(chan struct{})}
	w.setContext(context.Background())
	return w
}

func (w *worker) name() string {
	if w.job {
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

// jobsDone is why an App stops whose jobs are done.
type jobsDone struct{}

func (*jobsDone) Error() string { return "all jobs are done" }

// jobEnded notes that a job has returned nil. The end of the last one begins the
// stop.
func (s *stop) jobEnded(p *serverState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return // the stop has interrupted it
	}
	p.completed = true
	if s.jobs--; s.jobs == 0 {
		s.beginLocked(&jobsDone{}, nil)
	}
}

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

// interrupted is an error for each job that is not done.
func (s *stop) interrupted(servers []*serverState) (errs []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range servers {
		if p.job && !p.completed {
			errs = append(errs, &interruptedError{p.name, s.cause})
		}
	}
	return errs
}
