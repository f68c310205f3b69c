package pid1

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"reflect"
	"runtime"
	"sync"
)

// Server is what [Run] runs. *http.Server is one, and so are the results of
// [Func], [Listen], [GRPC], [TLS] and [Command].
//
// ListenAndServe serves until Shutdown is called or it fails. An error that it
// returns before Shutdown was called ends the App with a [ServerError]; nil or
// http.ErrServerClosed ends it cleanly. Shutdown returns when all is served,
// or with ctx's error when ctx ends first.
//
// An *http.Server whose TLSConfig has certificates is refused: pass [TLS] of it.
//
// An *http.Server, also inside [Listen], is drained as described at [App]. A
// request is in flight until its handler returns, also when that has hijacked
// the connection, as those of WebSockets do: end it when [App.Stopping] is
// closed. Any other Server, an HTTP/3 one for example, gets its own Shutdown and
// no more.
type Server interface {
	ListenAndServe() error
	Shutdown(ctx context.Context) error
}

// ServerError says that a server ended by itself, or failed to start.
type ServerError struct {
	Server string // its name, see [Named]
	Err    error  // nil: it returned without an error
}

func (e *ServerError) Error() string {
	if e.Err == nil {
		return e.Server + " returned"
	}
	return e.Server + ": " + e.Err.Error()
}

func (e *ServerError) Unwrap() error { return e.Err }

// Named gives s a name for logs, errors and the report. Without one an
// *http.Server is called "http :8080", a Func by its function's name, and
// anything else by its type.
func Named(name string, s Server) Server { return &named{s, name} }

type named struct {
	Server
	name string
}

// Func makes a Server of a worker, such as a queue consumer or a job. Its ctx
// ends when it should stop, after any [App.Delay]; context.Cause(ctx) says why.
// It then has as long as a server has to finish. What it returns after that,
// ctx's error and its cause excepted, is reported as an error.
//
// A worker that returns by itself stops the App: cleanly with nil, else as a
// [ServerError].
func Func(run func(ctx context.Context) error) Server {
	f := &worker{run: run, done: make(chan struct{})}
	f.setContext(context.Background())
	return f
}

// A worker is the Server that Func makes.
type worker struct {
	run    func(context.Context) error
	ctx    context.Context
	cancel context.CancelCauseFunc
	once   sync.Once
	done   chan struct{}
}

func (f *worker) setContext(ctx context.Context) { f.ctx, f.cancel = context.WithCancelCause(ctx) }

func (f *worker) ListenAndServe() error {
	defer f.once.Do(func() { close(f.done) })
	return f.run(f.ctx)
}

func (f *worker) Shutdown(ctx context.Context) error {
	f.cancel(stopCause(ctx))
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *worker) kill() { f.cancel(context.Canceled) }

func (f *worker) name() string {
	if fn := runtime.FuncForPC(reflect.ValueOf(f.run).Pointer()); fn != nil {
		return path.Base(fn.Name())
	}
	return "worker"
}

// What App asks of the servers of this package beyond Server. Each is optional.
type (
	contexter interface{ setContext(ctx context.Context) } // what its contexts descend from
	checker   interface{ check() error }                   // refuses bad settings, before anything listens
	binder    interface {
		bind(ctx context.Context) error
	} // takes its port, before anything serves
	drainer  interface{ startDraining() } // the delay begins: tell clients to go
	observer interface {
		observe(onRequest func(*http.Request))
	} // called for every request after startDraining
	killer   interface{ kill() } // ends at once
	namer    interface{ name() string }
	signaled interface {
		signals() []os.Signal // that it wants
		signal(sig os.Signal) // gets them, those excepted that App uses
	}
)

// A part is one server as App runs it.
type part struct {
	server Server
	name   string
	done   chan struct{} // closed when ListenAndServe has returned err
	err    error
	blamed bool // its end began the stop, which then tells its error
}

// newParts checks srv and names it.
func newParts(srv []Server) ([]*part, error) {
	if len(srv) == 0 {
		return nil, errors.New("pid1: Run: no server: pass an *http.Server, a pid1.Func or another Server")
	}
	parts := make([]*part, len(srv))
	for i, s := range srv {
		p := &part{done: make(chan struct{})}
		for n, ok := s.(*named); ok; n, ok = s.(*named) {
			if s = n.Server; p.name == "" {
				p.name = n.name
			}
		}
		if isNil(s) {
			return nil, fmt.Errorf("pid1: Run: server %d of %d is nil (%T)", i+1, len(srv), s)
		}
		if h, ok := s.(*http.Server); ok {
			s = &httpServer{srv: h}
		}
		if n, ok := s.(namer); ok && p.name == "" {
			p.name = n.name()
		}
		if p.name == "" {
			p.name = fmt.Sprintf("%T", s)
		}
		p.server = s
		parts[i] = p
	}
	return parts, nil
}

// isNil reports whether s is nil or holds a nil pointer, map or the like.
func isNil(s Server) bool {
	if s == nil {
		return true
	}
	switch v := reflect.ValueOf(s); v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Func, reflect.Chan, reflect.Interface:
		return v.IsNil()
	}
	return false
}

// network reports whether other programs send requests to p, so that they
// should hear of a stop before its listener closes.
func (p *part) network() bool {
	switch p.server.(type) {
	case *worker, *Child:
		return false
	}
	return true
}

// check refuses settings that cannot work, before anything listens.
func (p *part) check() error {
	if c, ok := p.server.(checker); ok {
		if err := c.check(); err != nil {
			return &ServerError{Server: p.name, Err: err}
		}
	}
	return nil
}

// bind takes the port, if p can do so before it serves.
func (p *part) bind(ctx context.Context) error {
	b, ok := p.server.(binder)
	if !ok {
		return nil
	}
	if err := b.bind(ctx); err != nil {
		return &ServerError{Server: p.name, Err: err}
	}
	return nil
}

// serve runs the server to its end, which begins a stop unless one has begun.
func (p *part) serve(begin func(cause, failure error) bool) {
	defer close(p.done)
	defer func() {
		ended := &ServerError{Server: p.name, Err: p.err}
		if p.err == nil {
			p.blamed = begin(ended, nil)
		} else {
			p.blamed = begin(ended, ended)
		}
	}()
	p.err = errors.New("ended by runtime.Goexit")
	p.err = p.server.ListenAndServe()
	if errors.Is(p.err, http.ErrServerClosed) {
		p.err = nil // somebody shut it down, as it should end
	}
}

// stop shuts the server down and waits until it has returned, or ctx ends.
func (p *part) stop(ctx context.Context) error {
	err := p.server.Shutdown(ctx)
	select {
	case <-p.done:
	case <-ctx.Done():
		// Shutdown is the judge of whether all is served.
		// A ListenAndServe that does not return loses nothing.
		return err
	}
	if p.err != nil && !p.blamed && !errors.Is(p.err, context.Canceled) && !errors.Is(p.err, stopCause(ctx)) {
		err = errors.Join(err, &ServerError{Server: p.name, Err: p.err})
	}
	return err
}

// release gives up what bind took, or Listen was given, before serve was called.
func (p *part) release() {
	if k, ok := p.server.(killer); ok {
		k.kill()
	}
}

// kill ends the server at once, as well as it can be.
func (p *part) kill() {
	switch s := p.server.(type) {
	case killer:
		s.kill()
	case interface{ Close() error }:
		_ = s.Close() // nothing is left to do about an error
	}
}
