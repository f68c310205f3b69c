package drain

import (
	"crypto/tls"
	"sync"
	"time"
)

// delivered reports whether clients have all that was written to them, of what
// was left when the last response ended at began. The kernel knows whether a
// client's machine has it. Whether the client has read it, nobody knows: it has
// silentWait for each frame that says so.
func (s *connections) delivered(began time.Duration) bool {
	yes, now := true, s.now()
	s.each(func(c *connection) {
		if !c.counted || !yes {
			return
		}
		some, known := unsent(c.outer)
		waits := c.wasBusy || !c.heldUntil.IsZero()
		if some || waits && (!known || now-max(c.lastRead, began) < silentWait) {
			yes = false
		}
	})
	return yes
}

// close closes all connections at once, and leaves behind what takes longer than
// alertTime: TLS writes close_notify, for which a client that has stopped reading
// makes it wait, and a user's Close may do anything.
func (s *connections) close() {
	s.forced.Store(true)
	var closing sync.WaitGroup
	var secure []*tls.Conn
	s.each(func(c *connection) {
		switch outer := c.outer.(type) {
		case *tls.Conn:
			secure = append(secure, outer)
			closing.Go(func() { outer.Close() })
		case *tcpConn:
			outer.TCPConn.Close() // nothing to wait for
		default:
			closing.Go(func() { outer.Close() })
		}
	})
	if within(alertTime, closing.Wait) {
		return
	}
	for _, conn := range secure {
		go conn.NetConn().Close() // which ends what waits
	}
}

// within calls f, and leaves it behind if it takes longer than limit.
func within(limit time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}
