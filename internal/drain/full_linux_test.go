// SPDX-License-Identifier: MIT

package drain_test

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/drain"
	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

// A failing is the error log of a server. failed is closed when the log has said for
// some time that Accept has no descriptor.
type failing struct{ failed chan struct{} }

func (f failing) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("too many open files; retrying in 320ms")) {
		close(f.failed)
	}
	return len(line), nil
}

// fill takes all descriptors of the process. The function returned frees n of them.
func fill(t *testing.T) (free func(n int)) {
	t.Helper()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	highest, err := syscall.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	taken := []int{highest}
	free = func(n int) {
		for _, fd := range taken[:n] {
			syscall.Close(fd)
		}
		taken = taken[n:]
	}
	t.Cleanup(func() {
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)
		free(len(taken))
	})
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(highest) + 50, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	taken = append(taken, nstest.TakeDescriptors()...)
	return free
}

// TestFullTable: clients that wait in the accept queue, since the process has no
// descriptor for them, are served in the stop, as soon as it has some: idle
// connections end, and those that have never carried a request.
func TestFullTable(t *testing.T) {
	for name, freed := range map[string]int{"full": 0, "one free": 1, "two free": 2} {
		t.Run(name, func(t *testing.T) { fullTable(t, freed, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") })
	}
	t.Run("full of silent ones", func(t *testing.T) { fullTable(t, 0, "") })
}

func fullTable(t *testing.T, freed int, idleSay string) {
	const idle, waiting = 3, 6
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	failing := failing{make(chan struct{})}
	srv := &http.Server{ErrorLog: log.New(failing, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello")
	})}
	h := drain.NewHTTP(context.Background(), srv, drain.Hooks{})
	h.Bind(l)
	served := make(chan error)
	go func() { served <- h.Serve(srv.Serve) }()
	for range idle {
		keepAlive(t, l.Addr().String(), idleSay)
	}
	var clients []int
	for range waiting {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(fd)
		clients = append(clients, fd)
	}
	free := fill(t)
	to := &syscall.SockaddrInet4{Port: l.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	for _, fd := range clients {
		if err := syscall.Connect(fd, to); err != nil {
			t.Fatal(err)
		}
		syscall.Write(fd, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	}
	<-failing.failed
	free(freed)

	ctx, end := context.WithTimeout(t.Context(), 20*time.Second)
	defer end()
	if err := h.Shutdown(ctx, errStop); err != nil {
		t.Error(err)
	}
	<-served
	lost := 0
	for _, fd := range clients {
		var response [1024]byte
		n, err := syscall.Read(fd, response[:])
		if n < 0 || !strings.HasPrefix(string(response[:n]), "HTTP/1.1 200 OK") {
			t.Logf("got %q, %v", response[:max(n, 0)], err)
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("lost %d of %d requests", lost, waiting)
	}
}

// keepAlive makes a request, if any, and closes the connection when the server does.
func keepAlive(t *testing.T, addr, request string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if io.WriteString(conn, request); request != "" {
		if _, err := conn.Read(make([]byte, 1024)); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		io.Copy(io.Discard, conn)
		conn.Close()
	}()
}
