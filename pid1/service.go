package pid1

import (
	"context"
	"sync/atomic"
)

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
