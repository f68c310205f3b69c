// SPDX-License-Identifier: MIT

//go:build unix

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

// The request that is in flight when the signal comes gets its whole response,
// new connections are refused meanwhile, and the exit code is 0.
func TestGracefulStop(t *testing.T) {
	t.Run("SIGTERM to PID 1", func(t *testing.T) {
		testGracefulStop(t, nstest.Command(t, "http"), syscall.SIGTERM)
	})
	t.Run("SIGINT to PID 1", func(t *testing.T) {
		testGracefulStop(t, nstest.Command(t, "http"), syscall.SIGINT)
	})
	t.Run("SIGTERM to a child", func(t *testing.T) {
		testGracefulStop(t, nstest.Child(t, "http"), syscall.SIGTERM)
	})
}

func testGracefulStop(t *testing.T, cmd *exec.Cmd, signal os.Signal) {
	s := start(t, cmd)
	request := openRequest(t, s.addr)

	cmd.Process.Signal(signal)
	awaitRefused(t, s.addr)

	if got, want := request.finish(t), "done after 10ms\n"; got != want {
		t.Errorf("response: got %q, want %q", got, want)
	}
	responded := time.Now()
	if log, err := s.wait(); err != nil {
		t.Errorf("got %v, want exit code 0; log:\n%s", err, log)
	}
	t.Logf("gone %v after the response", time.Since(responded).Round(100*time.Microsecond))
}

// With nothing in flight Ctrl-C ends the process at once.
func TestCtrlC(t *testing.T) {
	s := start(t, nstest.Child(t, "http"))
	begin := time.Now()
	s.cmd.Process.Signal(os.Interrupt)
	log, err := s.wait()
	if err != nil {
		t.Errorf("got %v, want exit code 0; log:\n%s", err, log)
	}
	t.Logf("gone after %v", time.Since(begin).Round(100*time.Microsecond))
}

func TestBadPort(t *testing.T) {
	cmd := nstest.Child(t, "http")
	cmd.Env = append(cmd.Env, "PORT=http")
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "$PORT is") {
		t.Errorf("got %v, %s; want exit code 1 and an error that names $PORT", cmd.ProcessState, out)
	}
}

// A server is this program in a process of its own.
type server struct {
	cmd  *exec.Cmd
	addr string
	log  *bufio.Reader
}

// start returns when the server serves.
func start(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	port := freePort(t)
	cmd.Env = append(cmd.Env, "PORT="+port)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{cmd, "localhost:" + port, bufio.NewReader(stderr)}
	for {
		line, err := s.log.ReadString('\n')
		if err != nil {
			t.Fatalf("log: %v after %q", err, line)
		}
		if strings.Contains(line, "INFO serving") {
			return s
		}
	}
}

// wait returns the rest of the log and how the process ended.
func (s *server) wait() (log []byte, err error) {
	log, _ = io.ReadAll(s.log)
	return log, s.cmd.Wait()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

// awaitRefused returns when the address refuses connections.
func awaitRefused(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		conn, err := net.Dial("tcp", addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			conn.Close()
		}
		if time.Now().After(deadline) {
			t.Fatalf("dial: got %v for 5 s, want connection refused", err)
		}
	}
}

// A request is one whose handler runs and waits for the rest of it.
type request struct {
	conn net.Conn
	in   *bufio.Reader
}

const requestBody = "d=10ms"

// openRequest sends the head of a request for /slow. The server answers 100
// Continue once the handler reads the body, so the handler is known to run
// when openRequest returns, and to run on until finish sends the body.
func openRequest(t *testing.T, addr string) *request {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "POST /slow HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n", len(requestBody))

	in := bufio.NewReader(conn)
	status, err := in.ReadString('\n')
	if !strings.HasPrefix(status, "HTTP/1.1 100 ") {
		t.Fatalf("got %q, %v; want 100 Continue", status, err)
	}
	in.ReadString('\n') // the empty line
	return &request{conn, in}
}

// finish sends the rest of the request and returns the body of the response.
func (r *request) finish(t *testing.T) string {
	t.Helper()
	io.WriteString(r.conn, requestBody)
	response, err := http.ReadResponse(r.in, nil)
	if err != nil {
		t.Fatalf("response: %v", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("response: %s, %v", response.Status, err)
	}
	return string(body)
}
