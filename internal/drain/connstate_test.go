// SPDX-License-Identifier: MIT

package drain_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/drain"
)

// TestConnStatePanics: net/http survives it in some states, and we in all but
// StateNew, of which Serve dies.
func TestConnStatePanics(t *testing.T) {
	for _, when := range []http.ConnState{http.StateActive, http.StateIdle, http.StateClosed} {
		t.Run(when.String(), func(t *testing.T) {
			srv := &http.Server{ErrorLog: silent, ConnState: func(_ net.Conn, state http.ConnState) {
				if state == when {
					panic("in ConnState")
				}
			}}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			warnings := make(chan string, 10)
			s := serveOn(t, srv, l, drain.Hooks{Warn: func(message string) { warnings <- message }})
			conn, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			io.ReadAll(conn) // to its end
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			if when == http.StateClosed {
				if got := <-warnings; !strings.Contains(got, "in ConnState\n") || !strings.Contains(got, "connstate_test.go") {
					t.Errorf("got %q, want the panic with its stack", got)
				}
			}
		})
	}
}

// TestConnStateHangs: the drain ends all the same, and says why it did not sooner.
func TestConnStateHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, when := range []http.ConnState{http.StateNew, http.StateActive, http.StateIdle, http.StateClosed} {
		t.Run(when.String(), func(t *testing.T) {
			t.Parallel()
			hanging, release := make(chan bool, 1), make(chan bool)
			defer close(release)
			srv := &http.Server{ConnState: func(_ net.Conn, state http.ConnState) {
				if state == when {
					hanging <- true
					<-release
				}
			}}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			h := drain.NewHTTP(context.Background(), srv, drain.Hooks{})
			h.Bind(l)
			go h.Serve(srv.Serve)
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			header := ""
			if when == http.StateClosed {
				header = "Connection: close\r\n"
			}
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n"+header+"\r\n")
			<-hanging
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			err = h.Shutdown(ctx, errStop) // which returns
			// Before the connection has a request, it is nobody's loss.
			fits := err == nil && (when == http.StateNew || when == http.StateActive)
			if !fits && !strings.Contains(fmt.Sprint(err), "1 in a Server.ConnState that does not return") {
				t.Errorf("got %v", err)
			}
		})
	}
}
