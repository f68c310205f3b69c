package pid1

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/entrypoint-go/entrypoint/internal/drain"
)

// Listen makes a Server of one that serves a listener of yours: a unix socket,
// an inherited descriptor, a TLS setup of your own. The stop closes the
// listener. Listen panics when l or s is nil.
//
// An *http.Server is drained as by [Run]. Its connections are as l makes them,
// whatever its TLSConfig says: for TLS, pass what tls.NewListener returns.
//
// Connections that wait in the accept queue when the stop begins are served, on
// Linux and if l is a *net.TCPListener or a *net.UnixListener, or what
// tls.NewListener makes of one. With other listeners a few of them may be reset.
//
// The hooks of an *http.Server see the connections that l returned. A handler that
// hijacks one gets a type of this library around it, with the methods of a
// *net.TCPConn, and NetConn for what is inside; so does NetConn of a *tls.Conn.
func Listen(l net.Listener, s interface {
	Serve(net.Listener) error
	Shutdown(ctx context.Context) error
}) Server {
	if l == nil || s == nil {
		panic(fmt.Sprintf("pid1: Listen(%T, %T): neither may be nil", l, s))
	}
	if srv, ok := s.(*http.Server); ok {
		if srv == nil {
			return srv // for Run to refuse
		}
		return &httpServer{srv: srv, listener: l}
	}
	return &listening{l, s}
}

// A listening is a server of a type unknown to us, with its listener.
type listening struct {
	l net.Listener
	s interface {
		Serve(net.Listener) error
		Shutdown(ctx context.Context) error
	}
}

func (s *listening) ListenAndServe() error { return s.s.Serve(s.l) }
func (s *listening) name() string          { return fmt.Sprintf("%T %s", s.s, s.l.Addr()) }

// kill closes the server, too, if it can be closed.
func (s *listening) kill() {
	_ = s.l.Close()
	if c, ok := s.s.(interface{ Close() error }); ok {
		_ = c.Close() // nothing is left to do about an error
	}
}

func (s *listening) Shutdown(ctx context.Context) error {
	err := s.s.Shutdown(ctx)
	_ = s.l.Close() // most have done so themselves
	return err
}

// GRPC makes a Server of a *grpc.Server, or of anything with its methods. The
// stop calls GracefulStop, which has no deadline. Shortly before the stop's
// deadline it calls Stop, which cancels the remaining calls; Shutdown then
// returns an error. GRPC panics when l or s is nil.
//
// The health service is yours: set NOT_SERVING when [App.Stopping] is closed,
// which is before the delay.
func GRPC(l net.Listener, s interface {
	Serve(net.Listener) error
	GracefulStop()
	Stop()
}) Server {
	if l == nil || s == nil {
		panic(fmt.Sprintf("pid1: GRPC(%T, %T): neither may be nil", l, s))
	}
	return &grpcServer{l: l, s: s, stopping: make(chan struct{})}
}

type grpcServer struct {
	l net.Listener
	s interface {
		Serve(net.Listener) error
		GracefulStop()
		Stop()
	}
	once     sync.Once
	stopping chan struct{} // closed when a stop begins
}

func (g *grpcServer) name() string { return "grpc " + g.l.Addr().String() }

func (g *grpcServer) ListenAndServe() error {
	err := g.s.Serve(g.l)
	select {
	case <-g.stopping:
		// A Serve that begins after GracefulStop returns grpc.ErrServerStopped,
		// which we do not import.
		return nil
	default:
		return err
	}
}

func (g *grpcServer) Shutdown(ctx context.Context) error {
	g.once.Do(func() { close(g.stopping) })
	graceful := goCall(g.name(), func() error { g.s.GracefulStop(); return nil }, nil)
	cut := drain.Cutoff(ctx)
	defer cut.Stop()
	select {
	case <-graceful.done:
		return graceful.err
	case <-cut.C:
	case <-ctx.Done():
	}

	// Stop makes GracefulStop return (grpc/grpc-go#2448). It waits for handlers
	// if the user has asked for that (grpc.WaitForHandlers).
	select {
	case <-goCall(g.name(), func() error { g.s.Stop(); return nil }, nil).done:
	case <-ctx.Done():
	}
	return fmt.Errorf("calls still running were cancelled: %w", drain.CutReason(ctx))
}

func (g *grpcServer) kill() {
	g.once.Do(func() { close(g.stopping) })
	go g.s.Stop()   // which may wait for handlers
	_ = g.l.Close() // which Stop does only if Serve has seen it
}
