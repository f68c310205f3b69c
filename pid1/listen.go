// SPDX-License-Identifier: MIT

package pid1

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/drain"
)

// Listen makes a Server of one that serves a listener of yours: a unix socket,
// an inherited descriptor, a TLS setup of your own. The stop closes the
// listener, also if it comes before s serves; a Close that hangs is left behind
// after 0.1 s. Listen panics when l or s is nil.
//
// An *http.Server is drained as by [Run]; with several listeners, make a Server of
// each. Its connections are as l makes them, whatever its TLSConfig says: for TLS,
// pass what tls.NewListener returns.
//
// A server of another type is stopped in this order: the listener refuses new
// clients, the server has 0.1 s for what its clients have sent, and its Shutdown is
// called. Its Serve gets a listener that hides the type of l, and may return Accept's
// error when the stop has closed that. To tell clients to go, let its handlers
// answer with Connection: close when [App.Ready] is false.
//
// Connections that wait in the accept queue when the stop begins are served, on
// Linux and if l is a *net.TCPListener or a *net.UnixListener, or what
// tls.NewListener makes of one. With other listeners a few of them may be reset.
//
// The hooks of an *http.Server see the connections that l returned. A handler that
// hijacks one gets a type of this library around it, with NetConn for what is
// inside and, if that is a *net.TCPConn, all of its methods. A *tls.Conn stays one:
// its NetConn is of such a type.
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

func (s *listening) inside() any           { return s.s }
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

// GRPC makes a Server of a *grpc.Server, or of anything with its methods. The
// stop calls GracefulStop, which has no deadline. Shortly before the stop's
// deadline it calls Stop, which cancels the remaining calls; Shutdown then
// returns an error. GRPC panics when l or s is nil.
//
// GracefulStop waits for connections that carry no call: those whose client has
// not begun, or not finished, the handshake. On TCP the stop closes them, after
// 0.1 s if the client has sent nothing, else after 1 s, or a quarter of the time
// that is left if that is less. Connections in the accept queue are reset: clients
// of gRPC open others by themselves.
//
// The health service is yours: set NOT_SERVING when [App.Stopping] is closed,
// which is before the delay. Its Watch is a call that the client never ends, as
// other streams may be: end it by [App.UntilStopping], as examples/grpc does.
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
	newcomers newcomers
	once      sync.Once
	stopping  chan struct{} // closed when a stop begins
}

func (g *grpcServer) boundTo() net.Addr { return g.l.Addr() }

func (g *grpcServer) name() string { return "grpc " + g.l.Addr().String() }

func (g *grpcServer) ListenAndServe() error {
	err := g.s.Serve(&newcomersListener{g.l, &g.newcomers})
	select {
	case <-g.stopping:
		// A Serve that begins after GracefulStop returns grpc.ErrServerStopped,
		// which we do not import.
		return nil
	default:
		return err
	}
}

const (
	silentLimit    = 100 * time.Millisecond
	handshakeLimit = time.Second
)

func (g *grpcServer) Shutdown(ctx context.Context) error {
	g.once.Do(func() { close(g.stopping) })
	graceful := goCall(g.name(), func() error { g.s.GracefulStop(); return nil }, nil)
	quarter := time.Hour
	if deadline, ok := ctx.Deadline(); ok {
		quarter = time.Until(deadline) / 4
	}
	silent := time.AfterFunc(min(silentLimit, quarter), func() { g.newcomers.close(false) })
	defer silent.Stop()
	handshaking := time.AfterFunc(min(handshakeLimit, quarter), func() { g.newcomers.close(true) })
	defer handshaking.Stop()
	cutoff, end := drain.Cutoff(ctx)
	defer end()
	select {
	case <-graceful.done:
		return graceful.err
	case <-cutoff.Done():
	}

	// Stop makes GracefulStop return (grpc/grpc-go#2448). It waits for handlers
	// if the user has asked for that (grpc.WaitForHandlers).
	select {
	case <-goCall(g.name(), func() error { g.s.Stop(); return nil }, nil).done:
	case <-ctx.Done():
	}
	return fmt.Errorf("calls still running were cancelled: %w", cutoff.Err())
}

func (g *grpcServer) kill() {
	g.once.Do(func() { close(g.stopping) })
	go g.s.Stop()   // which may wait for handlers
	_ = g.l.Close() // which Stop does only if Serve has seen it
}

// newcomers are the TCP connections whose handshake is not over, as far as their
// bytes tell.
type newcomers struct {
	mu  sync.Mutex
	all map[*newcomer]struct{}
}

type newcomer struct {
	*net.TCPConn // with its other methods
	among        *newcomers

	heard   atomic.Int64 // bytes that the client has sent
	written atomic.Bool
	secure  bool // the client speaks TLS; of Read, as is settled
	settled bool
}

const (
	tlsHandshake = 0x16 // the first byte of TLS

	// http2Start is HTTP/2's connection preface and the head of the first frame.
	http2Start = 24 + 9
)

// newcomersListener adds what it accepts. Other connections than TCP's stay what
// they are: transport credentials may ask for a type of their own.
type newcomersListener struct {
	net.Listener
	newcomers *newcomers
}

func (l *newcomersListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn, err
	}
	return l.newcomers.add(tcp), err
}

func (n *newcomers) add(conn *net.TCPConn) *newcomer {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all == nil {
		n.all = map[*newcomer]struct{}{}
	}
	c := &newcomer{TCPConn: conn, among: n}
	n.all[c] = struct{}{}
	return c
}

func (n *newcomers) remove(c *newcomer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.all, c)
}

// close closes the connections whose clients have sent nothing, or all.
func (n *newcomers) close(all bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.all {
		if all || c.heard.Load() == 0 {
			c.TCPConn.Close() // nothing is left to do about an error
		}
	}
}

// Read finds the end of the handshake. A TLS client answers what the server writes;
// one without TLS sends all before it waits.
func (c *newcomer) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if n <= 0 || c.settled {
		return n, err
	}
	if c.heard.Load() == 0 {
		c.secure = p[0] == tlsHandshake
	}
	if heard := c.heard.Add(int64(n)); c.secure && c.written.Load() || !c.secure && heard >= http2Start {
		c.settled = true
		c.among.remove(c)
	}
	return n, err
}

func (c *newcomer) Write(p []byte) (int, error) {
	if !c.written.Load() {
		c.written.Store(true)
	}
	return c.TCPConn.Write(p)
}

func (c *newcomer) Close() error {
	c.among.remove(c)
	return c.TCPConn.Close()
}
