// SPDX-License-Identifier: MIT

package drain

import (
	"context"
	"net"
	"os"
	"sync"
)

// delivered reports whether clients have all that was written to them. The kernel
// knows whether a client's machine has it. Whether the client has read it, nobody
// knows: it has silentLooks for each frame that says so.
func (s *connections) delivered() bool {
	yes := true
	s.each(func(c *connection) {
		if !c.counted {
			return
		}
		c.looks++
		some, known := unsent(c.outer)
		waits := c.wasBusy || c.held != nil
		if some || waits && (!known || c.looks < silentLooks) {
			yes = false
		}
	})
	return yes
}

// close closes all connections at once, and leaves behind what takes longer than
// alertTime, or until ctx ends: TLS writes close_notify, for which a client that has
// stopped reading makes it wait, and a user's Close may do anything.
func (s *connections) close(ctx context.Context) {
	s.forced.Store(true)
	var closing sync.WaitGroup
	var slow []net.Conn
	s.each(func(c *connection) {
		if tcp, ok := c.outer.(*tcpConn); ok {
			tcp.TCPConn.Close() // nothing to wait for
			return
		}
		slow = append(slow, c.outer)
		closing.Go(func() { c.outer.Close() })
	})
	if !within(ctx, alertTime, closing.Wait) {
		for _, conn := range slow {
			closeInside(conn)
		}
	}
}

// closeConn closes one connection in the same way.
func closeConn(conn net.Conn) error {
	if bare(conn) {
		return conn.Close()
	}
	closed := make(chan error, 1)
	if !within(context.Background(), alertTime, func() { closed <- conn.Close() }) {
		closeInside(conn)
		return os.ErrDeadlineExceeded
	}
	return <-closed
}

// closeInside closes the connections inside conn, which ends what its Close waits
// for.
func closeInside(conn net.Conn) {
	for range maxWrappers {
		if conn = unwrap(conn); conn == nil {
			return
		}
		go conn.Close()
	}
}
