// SPDX-License-Identifier: MIT

package pid1_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// Whatever ignores the stop hangs in here, a name to look for in stacks.
func hangUntil(release <-chan struct{}) { <-release }

// wantStuck checks that the step is Stuck, with the text and hangUntil in its stack.
func wantStuck(t *testing.T, step shutdown.Step, text string) {
	t.Helper()
	var e *shutdown.HookError
	if step.State != shutdown.Stuck || !errors.As(step.Err, &e) {
		t.Fatalf("%v: %v; want it stuck", step, step.Err)
	}
	if !strings.Contains(e.Error(), text) {
		t.Errorf("the error is %q, want %q", e, text)
	}
	if n := strings.Count(string(e.Stack), "pid1_test.hangUntil("); n != 1 {
		t.Errorf("the stack has the function that hangs %d times:\n%s", n, e.Stack)
	}
}

// TestStuckRequest: a handler that hangs is named, with its stack: that of HTTP/1, of
// HTTP/2, and of a connection that it has taken. One that obeys is named, too.
func TestStuckRequest(t *testing.T) {
	slow(t)
	handlers := map[string]func(w http.ResponseWriter, r *http.Request, release <-chan struct{}){
		"plain": func(_ http.ResponseWriter, _ *http.Request, release <-chan struct{}) { hangUntil(release) },
		"goroutine": func(_ http.ResponseWriter, _ *http.Request, release <-chan struct{}) {
			done := make(chan bool)
			go func() { hangUntil(release); close(done) }()
			<-done
		},
		"hijacked": func(w http.ResponseWriter, _ *http.Request, release <-chan struct{}) {
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				defer conn.Close()
			}
			hangUntil(release)
		},
	}
	for name, handler := range handlers {
		for _, protocol := range []string{"h1", "h2", "h2c"} {
			if name == "hijacked" && protocol != "h1" {
				continue // HTTP/2 has no Hijack
			}
			t.Run(name+","+protocol, func(t *testing.T) {
				t.Parallel()
				entered, release := make(chan bool), make(chan struct{})
				defer close(release)
				app := &pid1.App{Shutdown: shutdown.Pipeline{Grace: 3 * time.Second}}
				handle := func(w http.ResponseWriter, r *http.Request) {
					entered <- true
					handler(w, r, release)
				}
				var s *served
				if protocol == "h1" {
					s = serve(t, app, &http.Server{Handler: http.HandlerFunc(handle)})
					dial(t, s.addr).send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
				} else {
					var client *http.Client
					var url string
					s, client, url = serveHTTP2(t, app, protocol, handle)
					go client.Get(url + "/long")
				}
				<-entered
				_, err := s.stop()
				if pid1.ExitCode(err) != 124 {
					t.Errorf("exit code %d, want 124", pid1.ExitCode(err))
				}
				wantStuck(t, s.report().Steps[0], "GET /long (")
			})
		}
	}
}

// A hangingServer hangs until released. Its Shutdown returns err, or hangs until its
// context ends.
type hangingServer struct {
	entered, release chan struct{}
	err              error // of Shutdown
}

func (s hangingServer) ListenAndServe() error    { close(s.entered); hangUntil(s.release); return nil }
func (s hangingServer) Serve(net.Listener) error { return s.ListenAndServe() }
func (s hangingServer) Shutdown(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	<-ctx.Done()
	return ctx.Err()
}

// TestStuckServer: a Server of a type of its own, by itself and on Listen.
func TestStuckServer(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		text string
	}{
		"context": {nil, `hook "s": ignored the end of its context`},
		"error":   {errors.New("3 jobs are left"), "3 jobs are left: ignored the end of its context"},
	} {
		for _, listen := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ",", listen), func(t *testing.T) {
				t.Parallel()
				hanging := hangingServer{make(chan struct{}), make(chan struct{}), test.err}
				defer close(hanging.release)
				var server pid1.Server = hanging
				if listen {
					l, err := net.Listen("tcp", "127.0.0.1:0")
					if err != nil {
						t.Fatal(err)
					}
					server = pid1.Listen(l, hanging)
				}
				app := &pid1.App{Shutdown: shutdown.Pipeline{Grace: time.Second}}
				s := run(t, app, pid1.Named("s", server))
				<-hanging.entered
				_, err := s.stop()
				if pid1.ExitCode(err) != 124 {
					t.Errorf("exit code %d, want 124", pid1.ExitCode(err))
				}
				wantStuck(t, s.report().Steps[0], test.text)
			})
		}
	}
}
