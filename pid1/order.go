package pid1

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

// InOrder makes a Server of several that depend on each other. It starts them
// first to last and stops them last to first, each one drained before the next
// one is told to stop. With
//
//	pid1.InOrder(metrics, worker, srv)
//
// the last request of srv may hand work to worker, and metrics answers until both
// are done. Servers beside it in Run start and stop at the same time as it does.
// An InOrder inside another one is as if its servers stood there themselves.
//
// All ports are taken before the first server starts. Then the next one starts
// when the one before it listens, or its program has been started ([Command]), or
// it has been called (Func and all others). The end of any of them stops the App.
//
// Each server has a name and times of its own in log and report. It may use all
// the time that the stop has left, less one Reserve (of [shutdown.Pipeline]) for
// each server that stops after it: one that hangs takes nothing from the others.
// When the time is up or the stop is forced, those that are left stop at once.
//
// InOrder panics when there are no servers.
func InOrder(s ...Server) Server {
	if len(s) == 0 {
		panic("pid1: InOrder: no server")
	}
	return &ordered{slices.Clone(s)}
}

type ordered struct{ servers []Server }

// A chain is a server that consists of others, which run in place of it. It is an
// interface so that only programs that call InOrder link ordered.
type chain interface {
	addTo(s *servers, p *serverState) error       // adds p, with its members
	stops(members []*serverState) []shutdown.Hook // in the order of the stop
	stopAll(ctx context.Context, stops []shutdown.Hook) error
	describe(members []*serverState) string
}

func (o *ordered) name() string { return "in order" }

func (o *ordered) addTo(s *servers, p *serverState) error {
	if s.into == nil {
		s.into = p
		s.top = append(s.top, p)
		defer func() { s.into = nil }()
	}
	return s.add("InOrder", o.servers)
}

// describe is "a > b".
func (o *ordered) describe(members []*serverState) string {
	list := make([]string, len(members))
	for i, p := range members {
		list[i] = p.title()
	}
	return strings.Join(list, " > ")
}

func (o *ordered) stops(members []*serverState) []shutdown.Hook {
	hooks := make([]shutdown.Hook, len(members))
	for i, p := range members {
		hooks[len(hooks)-1-i] = p.hook()
	}
	return hooks
}

// stopAll runs the stops one after the other, supervised like the steps of the stop.
func (o *ordered) stopAll(ctx context.Context, stops []shutdown.Hook) error {
	var reserve time.Duration
	if s, ok := ctx.Value(stopKey{}).(*stop); ok {
		reserve = s.app.Shutdown.Reserve
	}
	errs := make([]error, len(stops))
	var running sync.WaitGroup
	for i, h := range stops {
		if deadline, ok := ctx.Deadline(); ok {
			left, after := time.Until(deadline), time.Duration(len(stops)-1-i)
			h.Timeout = max(1, left-after*min(reserve, left/(after+1)))
		}
		done := make(chan struct{})
		running.Go(func() {
			defer close(done)
			errs[i] = shutdown.Parallel(h)(ctx)
		})
		select {
		case <-done:
		case <-ctx.Done(): // the others must not wait for one that ignores it
		}
	}
	running.Wait()
	return errors.Join(errs...)
}

// ListenAndServe and Shutdown are for a Server that wraps this one: App does not
// see inside.

func (o *ordered) ListenAndServe() error {
	ended := make(chan error, len(o.servers))
	for _, s := range o.servers {
		goCall("InOrder", s.ListenAndServe, func(err error) { ended <- err })
	}
	return <-ended
}

func (o *ordered) Shutdown(ctx context.Context) error {
	stops := make([]shutdown.Hook, len(o.servers))
	for i, s := range o.servers {
		stops[i].Func = s.Shutdown
	}
	slices.Reverse(stops)
	return o.stopAll(ctx, stops)
}
