// SPDX-License-Identifier: MIT

package pid1_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// hijack is a handler that takes its connection, as WebSockets do, and says
// goodbye on it when bye is closed, or its context ends.
func hijack(t *testing.T, hijacked chan<- bool, bye <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
		hijacked <- true
		select {
		case <-bye:
			io.WriteString(conn, "goodbye")
		case <-r.Context().Done():
			fmt.Fprint(conn, "cut off: ", context.Cause(r.Context()))
		}
	}
}

// upgraded opens a connection, and returns it when it is the handler's.
func upgraded(t *testing.T, s *served, hijacked <-chan bool) *wire {
	t.Helper()
	w := dial(t, s.addr)
	w.send("GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
	<-hijacked
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = w.r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *wire) wantRest(want string) {
	w.t.Helper()
	if got, err := io.ReadAll(w.r); string(got) != want {
		w.t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// TestHijackedLearnsOfStop: by Stopping, or by a function of RegisterOnShutdown, and
// Run waits for its handler.
func TestHijackedLearnsOfStop(t *testing.T) {
	t.Run("Stopping", func(t *testing.T) {
		hijacked := make(chan bool)
		var app pid1.App
		s := serve(t, &app, &http.Server{Handler: hijack(t, hijacked, app.Stopping())})
		w := upgraded(t, s, hijacked)
		t.Logf("took %v", s.stopCleanly())
		w.wantRest("goodbye")
	})
	t.Run("RegisterOnShutdown", func(t *testing.T) {
		hijacked, bye := make(chan bool), make(chan struct{})
		srv := &http.Server{Handler: hijack(t, hijacked, bye)}
		srv.RegisterOnShutdown(func() { close(bye) }) // panics when called twice
		s := serve(t, new(pid1.App), srv)
		w := upgraded(t, s, hijacked)
		t.Logf("took %v", s.stopCleanly())
		w.wantRest("goodbye")
	})
}

// TestHijackedCutOff: a handler that does not care counts as in flight. Its
// context ends with the cause of the stop, and it is named.
func TestHijackedCutOff(t *testing.T) {
	t.Parallel()
	attempts(t, func() error {
		hijacked := make(chan bool)
		s := serve(t, &pid1.App{Shutdown: shutdown.Pipeline{Grace: time.Second}}, &http.Server{Handler: hijack(t, hijacked, nil)})
		w := upgraded(t, s, hijacked)
		_, err := s.stop()
		if pid1.ExitCode(err) != 124 || !strings.Contains(fmt.Sprint(err), "GET /socket (") {
			return fmt.Errorf("err %w", err)
		}
		if got, err := io.ReadAll(w.r); string(got) != "cut off: "+errStop.Error() {
			return fmt.Errorf("got %q, %w", got, err)
		}
		return nil
	})
}

// TestHijackedLeftBehind: a connection whose handler has returned is its owner's
// alone, as with Shutdown.
func TestHijackedLeftBehind(t *testing.T) {
	conns := make(chan net.Conn, 1)
	s := serve(t, new(pid1.App), &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
		}
		conns <- conn
	})})
	w := dial(t, s.addr)
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	conn := <-conns
	s.stopCleanly()
	io.WriteString(conn, "still here")
	conn.Close()
	w.wantRest("still here")
}

// TestOneServerTwoListeners, one of them with TLS, and a hook of the user's that
// shuts the server down as well: it stops once.
func TestOneServerTwoListeners(t *testing.T) {
	hijacked, bye := make(chan bool), make(chan struct{})
	srv := &http.Server{Handler: hijack(t, hijacked, bye)}
	srv.RegisterOnShutdown(func() { close(bye) }) // panics when called twice
	cert, _ := certificate()
	listeners := make([]net.Listener, 2)
	for i := range listeners {
		var err error
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	secure := tls.NewListener(listeners[1], &tls.Config{Certificates: []tls.Certificate{cert}})
	app := pid1.App{Logger: discard}
	app.Shutdown.Defer("shut down again", srv.Shutdown)
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error)
	go func() { done <- app.Run(ctx, pid1.Listen(listeners[0], srv), pid1.Listen(secure, srv)) }()
	w := upgraded(t, &served{addr: listeners[0].Addr().String()}, hijacked)
	cancel(errStop)
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	w.wantRest("goodbye")
}

// TestOnShutdownPanics: a function of RegisterOnShutdown that panics ends the stop
// no more than one that hangs. Called by net/http it would end the process.
func TestOnShutdownPanics(t *testing.T) {
	hijacked, bye := make(chan bool), make(chan struct{})
	srv := &http.Server{Handler: hijack(t, hijacked, bye)}
	release := make(chan bool)
	defer close(release)
	srv.RegisterOnShutdown(func() { <-release })
	srv.RegisterOnShutdown(func() {
		defer time.AfterFunc(100*time.Millisecond, func() { close(bye) })
		panic("in RegisterOnShutdown")
	})
	var app pid1.App
	hook := false
	app.Shutdown.Defer("hook", func(context.Context) error { hook = true; return nil })
	s := serve(t, &app, srv)
	w := upgraded(t, s, hijacked)
	_, err := s.stop()
	w.wantRest("goodbye")
	var panicked *shutdown.HookError
	if pid1.ExitCode(err) != 2 || !errors.As(err, &panicked) || !strings.Contains(fmt.Sprint(err), "in RegisterOnShutdown") {
		t.Errorf("exit code %d, %v", pid1.ExitCode(err), err)
	}
	if !hook {
		t.Error("the hook has not run")
	}
}

// TestShutdownBeforeBind: a server that is told to stop before it listens does not
// any more, and its listener is closed.
func TestShutdownBeforeBind(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := pid1.Listen(l, new(http.Server))
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if conn, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, %v, want that the listener is closed", conn, err)
	}
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("ListenAndServe returns %v", err)
	}
}
