// SPDX-License-Identifier: MIT

package drain

import (
	"context"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

// TestManyIdle: a stop with thousands of idle connections takes no longer than
// Shutdown's. $DRAIN_TEST_IDLE sets how many; the figure in docs/design.md is of
// 9000.
func TestManyIdle(t *testing.T) {
	n := 500
	if os.Getenv("DRAIN_TEST_IDLE") != "" {
		n = 9000
	}
	open := func(t *testing.T, addr string) {
		for range n {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			if !get(conn) {
				t.Fatal("not served")
			}
		}
	}
	t.Run("drain", func(t *testing.T) {
		s := start(t, &http.Server{Handler: nothing})
		open(t, s.addr)
		time.Sleep(2 * drainWindow)
		t.Logf("%d connections took %v", n, s.stop())
	})
	t.Run("Shutdown", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: nothing}
		done := make(chan error)
		go func() { done <- srv.Serve(l) }()
		open(t, l.Addr().String())
		time.Sleep(2 * drainWindow)
		began := time.Now()
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		t.Logf("%d connections took %v", n, time.Since(began))
		<-done
	})
}
