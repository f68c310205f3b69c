// SPDX-License-Identifier: MIT

package drain

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// closeWindow bounds how long drainBlindly waits for a moment in which nothing
// is accepted.
const closeWindow = 50 * time.Millisecond

// A listener can close without losing the connections in its accept queue. A
// plain Close resets those: their clients are connected already, and see their
// first request fail.
type listener struct {
	net.Listener
	accepted atomic.Int64
	once     sync.Once
	closing  atomic.Bool // or closed
	err      error
	draining atomic.Bool
	queue    chan net.Conn // while draining: what was in the queue, then closed
	served   chan struct{} // closed when the server has returned from Serve
}

func newListener(l net.Listener) *listener {
	return &listener{Listener: l, queue: make(chan net.Conn), served: make(chan struct{})}
}

// A wrapper is a listener whose connections are ours.
type wrapper struct {
	wrap func(net.Conn) net.Conn
	net.Listener
}

func (l *wrapper) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(conn), nil
}

// Accept is the listener's. After drain has closed that, Accept returns what was
// in the queue, and only then the error.
func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		ok := false
		if l.draining.Load() {
			conn, ok = <-l.queue
		}
		if !ok {
			return nil, err
		}
	}
	l.accepted.Add(1)
	return conn, nil
}

// Close closes the listener once: a second time would be an error. A user's Close
// that does not return is left behind.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.closing.Store(true)
		closed := make(chan error, 1)
		if within(context.Background(), alertTime, func() { closed <- l.Listener.Close() }) {
			l.err = <-closed
		}
	})
	return l.err
}

// drain refuses new connections, and waits until the server has returned from
// Serve, or until ends: some Accepts go on with a connection that they have (a
// PROXY header, a handshake), and do not return.
func (l *listener) drain(until <-chan struct{}) {
	l.refuse(until)
	select {
	case <-l.served:
	case <-until:
	}
}

// refuse closes the listener, and has Accept return what was in its queue.
//
// A goroutine that is blocked in Accept keeps the socket open until it is
// scheduled, and on a busy machine the queue fills meanwhile. So we empty the
// queue by a second descriptor of the socket, and close that at once.
func (l *listener) refuse(until <-chan struct{}) {
	second, ok := duplicate(l.Listener)
	if !ok {
		l.drainBlindly(until)
		return
	}
	l.draining.Store(true)
	l.Close()
	defer close(l.queue)
	rest := backlog{fd: second}
	for {
		conns, full := rest.accept()
		for _, conn := range conns {
			select {
			case l.queue <- conn:
			case <-l.served:
				conn.Close()
			case <-until:
				conn.Close()
			}
		}
		if !full {
			return
		}
		if !l.pause(tick, until) {
			rest.close()
			return
		}
	}
}

// pause reports whether d has passed before the server has returned from Serve, and
// before until.
func (l *listener) pause(d time.Duration, until <-chan struct{}) bool {
	select {
	case <-time.After(d):
		return true
	case <-l.served:
	case <-until:
	}
	return false
}

// drainBlindly closes a listener when its queue is empty: one that is not a plain
// socket, such as one of PROXY protocol, since what is in the queue only the listener
// itself can accept, and one for which there is no second descriptor. Where the
// socket is not to be found, it is probably empty when nothing was accepted for a
// tick.
func (l *listener) drainBlindly(until <-chan struct{}) {
	defer l.Close()
	socket := unwrapped(l.Listener)
	waits, known := queued(socket)
	for waits && l.pause(tick/20, until) {
		waits, _ = queued(socket)
	}
	if known {
		return
	}
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for end := time.Now().Add(closeWindow); time.Now().Before(end); {
		before := l.accepted.Load()
		<-ticks.C
		if l.accepted.Load() == before {
			break
		}
	}
}

// makeRoom ends what was idle before p began, and lets what is busy end, while
// listeners do not close: one that limits how many connections there are, such as
// netutil.LimitListener, accepts what is in its queue only when others have ended.
func (h *server) makeRoom(ctx context.Context, p *patience, closed <-chan struct{}) {
	since := p.now
	h.AnnounceClose()
	for ctx.Err() == nil && !waitTicks(ctx, tick, closed) {
		p.now = h.conns.now()
		h.conns.each(func(c *connection) {
			switch {
			case !c.betweenLocked() || !c.awaitsLocked() || c.lastUsed >= since || p.due(c):
			case c.inner == nil && c.used:
				c.endForeignLocked(p)
			case c.reading:
				c.endLocked(false)
			}
		})
	}
}
