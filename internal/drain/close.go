// SPDX-License-Identifier: MIT

package drain

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/goroutine"
)

// cutOff ends requests that did not end before cutoff, and names them.
func (h *server) cutOff(ctx, cutoff context.Context, cause error) error {
	running := h.conns.list(h.handler)
	if all := h.withConnState(running); len(all) > 0 { // which a Shutdown that is left behind says, too
		goroutine.WaitFor(ctx, requestsCutOff(all), h.conns.goroutines()...)
	}
	h.cancelRequests(cause)

	// A handler that returns when its context ends can still respond.
	last, end := context.WithTimeout(ctx, answerTime(ctx))
	defer end()
	if h.wait(last, h.conns.quiet) {
		h.wait(last, h.conns.none)
	}
	h.close(ctx, cause)
	if running = h.withConnState(running); len(running) == 0 {
		return fmt.Errorf("connections cut off before they were idle: %w", cutoff.Err())
	}
	return fmt.Errorf("%s: %w", requestsCutOff(running), cutoff.Err())
}

// withConnState adds the hooks of the user's that have not returned.
func (h *server) withConnState(running []string) []string {
	if n := h.inConnState.Load(); n > 0 {
		running = append(running, fmt.Sprintf("%d in a Server.ConnState that does not return", n))
	}
	return running
}

func requestsCutOff(names []string) string { return "requests cut off: " + strings.Join(names, ", ") }

// answerTime is how much of the time left goes to handlers whose contexts were
// cancelled.
func answerTime(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return time.Until(deadline) * 8 / 10
	}
	return drainWindow
}

// cancelRequests cancels the contexts of all requests, and has done so when it
// returns: net/http cancels those of closed connections, without a cause.
func (h *server) cancelRequests(cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, cancel := range h.cancels {
		cancel(cause)
	}
}

// close cancels the contexts of all requests and closes their connections, before
// ctx ends. After that it takes alertTime, by the clock: on a starved machine its ticks
// would be late for everybody.
func (h *server) close(ctx context.Context, cause error) {
	h.cancelRequests(cause)
	var end context.CancelFunc
	if ctx.Err() != nil {
		ctx, end = context.WithTimeout(context.WithoutCancel(ctx), alertTime)
	} else {
		ctx, end = Cutoff(ctx)
	}
	defer end()
	h.conns.close(ctx)
	within(ctx, drainWindow, func() { _ = h.srv.Close() })
}

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
		closing.Go(func() {
			c.outer.Close()
			if c.inner != nil {
				c.inner.Close() // a *tls.Conn that net/http has closed does nothing the second time
			}
		})
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
