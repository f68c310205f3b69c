// SPDX-License-Identifier: MIT

//go:build linux

package pid1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/linux"
	"github.com/entrypoint-go/entrypoint/pid1"
)

func init() { helpers["notifying"] = notifyingMain }

// notifyingMain is a service that reloads until it reads a line, and fails with a
// long error when it reads another.
func notifyingMain() int {
	stdin := bufio.NewReader(os.Stdin)
	app := pid1.App{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	app.OnHangup = func(context.Context) error {
		fmt.Println("reloading")
		stdin.ReadString('\n')
		fmt.Println("reloaded")
		return nil
	}
	return pid1.ExitCode(app.Run(context.Background(), pid1.Named("worker", pid1.Func(func(ctx context.Context) error {
		fmt.Println("serving")
		select {
		case <-ctx.Done():
			return nil
		case <-quitFile(os.Args[1]):
			return errors.New("line\n" + strings.Repeat("ä", 5500))
		}
	}))))
}

// quitFile is closed when the file exists.
func quitFile(name string) <-chan struct{} {
	quit := make(chan struct{})
	go func() {
		for {
			if _, err := os.Stat(name); err == nil {
				close(quit)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return quit
}

// A manager is the service manager's end of $NOTIFY_SOCKET.
type manager struct {
	t *testing.T
	net.PacketConn
	watchdogs int // WATCHDOG=1 so far
}

// listenManager listens as a service manager does.
func listenManager(t *testing.T, socket string) *manager {
	t.Helper()
	conn, err := net.ListenPacket("unixgram", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(time.Minute)) // against a test that hangs
	return &manager{t: t, PacketConn: conn}
}

// next returns the next datagram that is not the watchdog's.
func (m *manager) next() string {
	m.t.Helper()
	message := make([]byte, 64<<10)
	for {
		n, _, err := m.ReadFrom(message)
		if err != nil {
			m.t.Fatal(err)
		}
		if s := string(message[:n]); s != "WATCHDOG=1\n" {
			return s
		}
		m.watchdogs++
	}
}

// silent checks that nothing comes for a while but the watchdog's.
func (m *manager) silent() {
	m.t.Helper()
	message := make([]byte, 64<<10)
	m.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	defer m.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		n, _, err := m.ReadFrom(message)
		if err != nil {
			return
		}
		if s := string(message[:n]); s != "WATCHDOG=1\n" {
			m.t.Errorf("the service manager was told %q", s)
		}
		m.watchdogs++
	}
}

// TestSystemdProcess: what a service manager is told in the life of a process, by
// datagrams that it takes: it drops those of more than 4096 bytes.
func TestSystemdProcess(t *testing.T) {
	t.Parallel()
	asInitAndNot(t, func(t *testing.T, start starter) {
		socket, quit := filepath.Join(t.TempDir(), "notify"), filepath.Join(t.TempDir(), "quit")
		m := listenManager(t, socket)

		cmd := start(t, "notifying", quit)
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=20000", "SHUTDOWN_GRACE=7")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(stdout)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		awaitLine(t, lines, "serving")
		if got, want := m.next(), "READY=1\nSTATUS=serving worker\n"; got != want {
			t.Errorf("at the start: %q, want %q", got, want)
		}

		before := linux.Monotonic()
		cmd.Process.Signal(syscall.SIGHUP)
		awaitLine(t, lines, "reloading")
		got := m.next()
		rest, ok := strings.CutPrefix(got, "RELOADING=1\nMONOTONIC_USEC=")
		usec, err := strconv.ParseInt(strings.TrimSuffix(rest, "\n"), 10, 64)
		if at := time.Duration(usec) * time.Microsecond; !ok || err != nil || at < before.Truncate(time.Microsecond) || at > linux.Monotonic() {
			t.Errorf("before OnHangup: %q, want RELOADING=1 with a time after %v", got, before)
		}
		m.silent()
		io.WriteString(stdin, "\n")
		awaitLine(t, lines, "reloaded")
		if got, want := m.next(), "READY=1\n"; got != want {
			t.Errorf("after OnHangup: %q, want %q", got, want)
		}
		m.watchdogs = 0
		for range 100 {
			if m.silent(); m.watchdogs >= 3 {
				break
			}
		}
		if m.watchdogs < 3 {
			t.Errorf("%d times WATCHDOG=1 in 5s, want it every 10ms", m.watchdogs)
		}

		if err := os.WriteFile(quit, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		got = m.next()
		fields := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
		if len(got) > 4096 || len(fields) != 3 || fields[0] != "STOPPING=1" || fields[2] != "EXTEND_TIMEOUT_USEC=7000000" ||
			!strings.HasPrefix(fields[1], "STATUS=stopping: worker: line; ää") || !strings.HasSuffix(fields[1], "ä…") {
			t.Errorf("at the stop: %d bytes, %q", len(got), got)
		}
		m.silent()
		if cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("exit code %d, want 1", cmd.ProcessState.ExitCode())
		}
	})
}

// TestSystemdReadsLate: a service manager that does not read for a while, systemd in
// its daemon-reload for instance, is told of each change, in order. It holds nobody up.
func TestSystemdReadsLate(t *testing.T) {
	t.Parallel()
	asInitAndNot(t, func(t *testing.T, start starter) {
		socket, quit := filepath.Join(t.TempDir(), "notify"), filepath.Join(t.TempDir(), "quit")
		m := listenManager(t, socket)
		fill(t, socket)

		cmd := start(t, "notifying", quit)
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=20000")
		var log strings.Builder
		cmd.Stderr = &log
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(stdout)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		awaitLine(t, lines, "serving")
		time.Sleep(300 * time.Millisecond) // the manager is late
		cmd.Process.Signal(syscall.SIGHUP)
		awaitLine(t, lines, "reloading")
		io.WriteString(stdin, "\n")
		awaitLine(t, lines, "reloaded")

		got := m.next()
		for got == filler {
			got = m.next()
		}
		for _, want := range []string{"READY=1\nSTATUS=serving worker\n", "RELOADING=1\n", "READY=1\n"} {
			if !strings.HasPrefix(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
			if want != "READY=1\n" {
				got = m.next()
			}
		}
		if err := os.WriteFile(quit, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, want := m.next(), "STOPPING=1\n"; !strings.HasPrefix(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		if cmd.Wait(); strings.Contains(log.String(), "NOTIFY_SOCKET") {
			t.Errorf("the log:\n%s", &log)
		}
	})
}

// filler is what a service manager has not read.
const filler = "filler"

// fill fills the queue of a socket.
func fill(t *testing.T, socket string) {
	t.Helper()
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for err == nil {
		conn.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		_, err = io.WriteString(conn, filler)
	}
}

// TestSystemdNotReady: a worker that has died before the last one runs is not covered
// up by READY=1. Once in a while it dies too late for that.
func TestSystemdNotReady(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	m := listenManager(t, socket)
	t.Setenv("NOTIFY_SOCKET", socket)

	const tries = 20
	for range tries {
		servers := []pid1.Server{pid1.Named("dies", pid1.Func(func(context.Context) error { return nil }))}
		for i := range 1000 {
			servers = append(servers, pid1.Named(strconv.Itoa(i), pid1.Func(worker)))
		}
		app := longGrace()
		app.Logger = discard
		done := make(chan error)
		go func() { done <- app.Run(t.Context(), servers...) }()
		first := m.next()
		if strings.HasPrefix(first, "READY=1\n") {
			m.next()
		}
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if strings.HasPrefix(first, "STOPPING=1\n") {
			m.silent()
			return
		}
	}
	t.Errorf("READY=1 in each of %d starts, although a worker has died", tries)
}
