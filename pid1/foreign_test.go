// SPDX-License-Identifier: MIT

//go:build linux

package pid1_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// A lineServer answers lines. As many servers do, its Shutdown closes its listener,
// with the queue, and the connections on which no line is being answered.
type lineServer struct {
	gate chan struct{} // it accepts the second connection when this is closed

	mu       sync.Mutex
	l        net.Listener
	conns    map[net.Conn]bool // whether one is being answered
	stopping bool
	served   chan struct{}
}

func newLineServer() *lineServer {
	return &lineServer{gate: make(chan struct{}), conns: map[net.Conn]bool{}, served: make(chan struct{})}
}

func (s *lineServer) Serve(l net.Listener) error {
	defer close(s.served)
	s.mu.Lock()
	s.l = l
	s.mu.Unlock()
	for {
		conn, err := l.Accept()
		s.mu.Lock()
		if s.stopping {
			s.mu.Unlock()
			return nil
		}
		if err != nil {
			s.mu.Unlock()
			return err
		}
		s.conns[conn] = false
		s.mu.Unlock()
		go s.answer(conn)
		<-s.gate
	}
}

func (s *lineServer) answer(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadString('\n')
		if err != nil || !s.enter(conn, true) {
			return
		}
		io.WriteString(conn, line)
		if !s.enter(conn, false) {
			return
		}
	}
}

func (s *lineServer) enter(conn net.Conn, busy bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[conn] = busy
	return !s.stopping
}

func (s *lineServer) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for conn, busy := range s.conns {
		if !busy {
			conn.Close()
		}
	}
	return s.l.Close()
}

// TestForeignServerQueue: connections in the accept queue are served before the
// Shutdown of a server that would lose them.
func TestForeignServerQueue(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			addr := "127.0.0.1:0"
			if network == "unix" {
				addr = filepath.Join(t.TempDir(), "socket")
			}
			l, err := net.Listen(network, addr)
			if err != nil {
				t.Fatal(err)
			}
			s := newLineServer()
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- (&pid1.App{Logger: discard}).Run(ctx, pid1.Listen(l, s)) }()

			// The first is served, the others are in the queue.
			var clients []net.Conn
			for range 20 {
				conn, err := net.Dial(network, l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				clients = append(clients, conn)
				if _, err := io.WriteString(conn, "hello\n"); err != nil {
					t.Fatal(err)
				}
				if len(clients) == 1 {
					wantHello(t, conn)
				}
			}
			stop()
			for {
				conn, err := net.Dial(network, l.Addr().String())
				if err != nil {
					break
				}
				conn.Close()
			}
			close(s.gate)
			for _, conn := range clients[1:] {
				wantHello(t, conn)
			}
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

func wantHello(t *testing.T, conn net.Conn) {
	t.Helper()
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

// ownListener closes the listener that it was made with, and waits for Serve.
type ownListener struct {
	*lineServer
	own net.Listener
}

func (s *ownListener) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	s.own.Close()
	select {
	case <-s.served:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestForeignServerOwnListener: a server that does not close the listener which
// Serve was given is not waited for to the end.
func TestForeignServerOwnListener(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newLineServer()
	close(s.gate)
	app := pid1.App{Logger: discard}
	app.Shutdown.Grace = time.Hour
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx, pid1.Listen(l, &ownListener{s, l})) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "hello\n")
	wantHello(t, conn)
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// acceptLoop is a server that returns what Accept does, whatever the reason.
type acceptLoop struct{ accepting chan bool }

func (s acceptLoop) Serve(l net.Listener) error {
	close(s.accepting)
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		conn.Close()
	}
}

func (acceptLoop) Shutdown(context.Context) error { return nil }

// TestForeignAcceptLoop: that its listener is closed by the stop is no failure of a
// server.
func TestForeignAcceptLoop(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := acceptLoop{make(chan bool)}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- (&pid1.App{Logger: discard}).Run(ctx, pid1.Listen(l, s)) }()
	<-s.accepting
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}
