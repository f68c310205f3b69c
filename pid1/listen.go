package pid1

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/drain"
)

// Listen makes a Server of one that serves a listener of yours: a unix socket,
// an inherited descriptor, a TLS setup of your own. The stop closes the
// listener. Listen panics when l or s is nil.
//
// An *http.Server is drained as by [Run]. Its connections are as l makes them,
// whatever its TLSConfig says: for TLS, pass what tls.NewListener returns.
//
// A server of another type is stopped in this order: the listener refuses new
// clients, the server has 0.1 s for what its clients have sent, and its Shutdown is
// called. Its Serve gets a listener that hides the type of l. To tell clients to
// go, let its handlers answer with Connection: close when [App.Ready] is false.
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
	return &listening{drain.NewForeign(l), s}
}

// A listening is a server of a type unknown to us, with its listener.
type listening struct {
	l *drain.Foreign
	s interface {
		Serve(net.Listener) error
		Shutdown(ctx context.Context) error
	}
}

func (s *listening) ListenAndServe() error { return s.l.Serve(s.s.Serve) }
func (s *listening) boundTo() net.Addr     { return s.l.Addr() }
func (s *listening) name() string          { return fmt.Sprintf("%T %s", s.s, s.l.Addr()) }

// kill closes the server, too, if it can be closed.
func (s *listening) kill() {
	_ = s.l.Close()
	if c, ok := s.s.(interface{ Close() error }); ok {
		_ = c.Close() // nothing is left to do about an error
	}
}

// serveWait is how long a server may take to close its listener. Some close
// theirs, which is another one, and wait for the end of Serve.
const serveWait = 100 * time.Millisecond

func (s *listening) Shutdown(ctx context.Context) error {
	s.l.Drain(ctx)
	closes := time.AfterFunc(serveWait, func() { _ = s.l.Close() })
	defer closes.Stop()
	err := s.s.Shutdown(ctx)
	_ = s.l.Close() // most have done so themselves
	return err
}
