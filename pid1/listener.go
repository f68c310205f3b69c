package pid1

import (
	"net"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// drainTime bounds how long a listener's accept queue is emptied for. drainIdle
// is how long nothing came when it counts as empty.
const (
	drainTime = 50 * time.Millisecond
	drainIdle = tick
)

// A drainListener can close without losing the connections in its accept queue.
// Closing a listener resets those: their clients, who were told that they are
// connected, see their first request fail.
type drainListener struct {
	net.Listener
	accepted atomic.Int64
	once     sync.Once
	err      error
	draining atomic.Bool
	left     chan net.Conn // while draining: what was in the queue, then closed
}

func newDrainListener(l net.Listener) *drainListener {
	return &drainListener{Listener: l, left: make(chan net.Conn)}
}

// Accept is the listener's. After drain has closed that, it returns what was in
// the queue, and only then the error.
func (l *drainListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		left := false
		if l.draining.Load() {
			conn, left = <-l.left
		}
		if !left {
			return nil, err
		}
	}
	l.accepted.Add(1)
	if !reflect.ValueOf(conn).Comparable() {
		conn = &struct{ net.Conn }{conn} // so that it can be a map's key
	}
	return conn, nil
}

// Close closes the listener once: a second time would be an error.
func (l *drainListener) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}

// drain closes the listener and has Accept return what was in its queue. It
// returns when over is closed, as it must be once Accept has returned an error.
//
// Whoever is blocked in Accept keeps the socket open until it is scheduled, and
// on a busy machine the queue fills meanwhile. So the queue is emptied by a
// second descriptor of the socket, whose close follows within microseconds.
func (l *drainListener) drain(over <-chan struct{}) {
	second, ok := duplicate(l.Listener)
	if !ok {
		l.drainBlindly()
		<-over
		return
	}
	l.draining.Store(true)
	l.Close()
	for _, conn := range acceptAll(second) {
		select {
		case l.left <- conn:
		case <-over:
			conn.Close()
		}
	}
	close(l.left)
	<-over
}

// drainBlindly closes a listener that is not a plain socket, such as one of TLS,
// when its queue is likely to be empty: nothing was accepted for drainIdle.
func (l *drainListener) drainBlindly() {
	ticks := time.NewTicker(drainIdle)
	defer ticks.Stop()
	for last := time.Now().Add(drainTime); time.Now().Before(last); {
		before := l.accepted.Load()
		<-ticks.C
		if l.accepted.Load() == before {
			break
		}
	}
	l.Close()
}
