// SPDX-License-Identifier: MIT

//go:build unix

package pid1_test

import (
	"syscall"
	"testing"
)

// TestProcessForcedWithRequest: a second signal closes what is in flight.
func TestProcessForcedWithRequest(t *testing.T) {
	t.Parallel()
	p := start(t, "-grace=1m")
	s := served{addr: p.await("serving ")}
	w := dial(t, s.addr)
	w.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
	p.await("request")
	p.signal(syscall.SIGTERM)
	s.refused()
	defer tellAgain(func() { p.cmd.Process.Signal(syscall.SIGINT) })()
	w.closed()
	p.wantExit(128 + int(syscall.SIGINT))
}
