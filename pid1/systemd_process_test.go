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
	"os/exec"
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

// A notifying is a process with notifyingMain, and its service manager.
type notifying struct {
	*manager
	socket, quit string
	cmd          *exec.Cmd
	stdin        io.Writer
	lines        *bufio.Reader   // its standard output
	log          strings.Builder // for when it has ended
}

func startNotifying(t *testing.T, start starter) *notifying {
	t.Helper()
	n := &notifying{socket: filepath.Join(t.TempDir(), "notify"), quit: filepath.Join(t.TempDir(), "quit")}
	n.manager = listenManager(t, n.socket)
	n.cmd = start(t, "notifying", n.quit)
	n.cmd.Env = append(n.cmd.Env, "NOTIFY_SOCKET="+n.socket, "WATCHDOG_USEC=20000", "SHUTDOWN_GRACE=7")
	n.cmd.Stderr = &n.log
	stdin, err := n.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.stdin, n.lines = stdin, bufio.NewReader(stdout)
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *notifying) awaitReady() {
	n.t.Helper()
	if got, want := n.next(), "READY=1\nSTATUS=serving worker\n"; got != want {
		n.t.Errorf("at the start: %q, want %q", got, want)
	}
}

// TestSystemdProcess: what a service manager is told in the life of a process, by
// datagrams that it takes: it drops those of more than 4096 bytes.
func TestSystemdProcess(t *testing.T) {
	t.Parallel()
	asInitAndNot(t, func(t *testing.T, start starter) {
		n := startNotifying(t, start)
		n.awaitReady()

		before := linux.Monotonic()
		n.cmd.Process.Signal(syscall.SIGHUP)
		awaitLine(t, n.lines, "reloading")
		got := n.next()
		rest, ok := strings.CutPrefix(got, "RELOADING=1\nMONOTONIC_USEC=")
		usec, err := strconv.ParseInt(strings.TrimSuffix(rest, "\n"), 10, 64)
		if at := time.Duration(usec) * time.Microsecond; !ok || err != nil || at < before.Truncate(time.Microsecond) || at > linux.Monotonic() {
			t.Errorf("before OnHangup: %q, want RELOADING=1 with a time after %v", got, before)
		}
		n.silent()
		io.WriteString(n.stdin, "\n")
		awaitLine(t, n.lines, "reloaded")
		if got, want := n.next(), "READY=1\n"; got != want {
			t.Errorf("after OnHangup: %q, want %q", got, want)
		}
		n.watchdogs = 0
		for range 100 {
			if n.silent(); n.watchdogs >= 3 {
				break
			}
		}
		if n.watchdogs < 3 {
			t.Errorf("%d times WATCHDOG=1 in 5s, want it every 10ms", n.watchdogs)
		}

		if err := os.WriteFile(n.quit, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		got = n.next()
		fields := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
		if len(got) > 4096 || len(fields) != 3 || fields[0] != "STOPPING=1" || fields[2] != "EXTEND_TIMEOUT_USEC=7000000" ||
			!strings.HasPrefix(fields[1], "STATUS=stopping: worker: line; ää") || !strings.HasSuffix(fields[1], "ä…") {
			t.Errorf("at the stop: %d bytes, %q", len(got), got)
		}
		n.silent()
		if n.cmd.Wait(); n.cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("exit code %d, want 1", n.cmd.ProcessState.ExitCode())
		}
	})
}

// TestSystemdReadsLate: a service manager that does not read for a while, systemd in
// its daemon-reload for instance, holds nothing up and gets each change, in order.
func TestSystemdReadsLate(t *testing.T) {
	t.Parallel()
	asInitAndNot(t, func(t *testing.T, start starter) {
		n := startNotifying(t, start)
		n.awaitReady()
		fill(t, n.socket)
		n.cmd.Process.Signal(syscall.SIGHUP)
		awaitLine(t, n.lines, "reloading")
		io.WriteString(n.stdin, "\n")
		awaitLine(t, n.lines, "reloaded")

		got := n.next()
		for got == filler {
			got = n.next()
		}
		if want := "RELOADING=1\n"; !strings.HasPrefix(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		if got, want := n.next(), "READY=1\n"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		if err := os.WriteFile(n.quit, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, want := n.next(), "STOPPING=1\n"; !strings.HasPrefix(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		if n.cmd.Wait(); strings.Contains(n.log.String(), "NOTIFY_SOCKET") {
			t.Errorf("the log:\n%s", &n.log)
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

// TestSystemdNotReady: a worker that has died before the last server runs is not covered
// up by READY=1. The last one is a program, which cannot be forked until then.
func TestSystemdNotReady(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	m := listenManager(t, socket)
	t.Setenv("NOTIFY_SOCKET", socket)
	for range 20 {
		app := longGrace()
		app.Logger = discard
		syscall.ForkLock.Lock()
		go func() {
			<-app.Stopping()
			syscall.ForkLock.Unlock()
		}()
		err := app.Run(t.Context(),
			pid1.Named("dies", pid1.Func(func(context.Context) error { return nil })),
			pid1.Command(exec.Command("sleep", "60")))
		if err != nil && !errors.As(err, new(*exec.ExitError)) { // the program is ended by SIGTERM if it starts yet
			t.Errorf("Run: %v", err)
		}
		if told := m.next(); !strings.HasPrefix(told, "STOPPING=1\n") {
			t.Fatalf("the service manager was told %q, want STOPPING=1", told)
		}
	}
	m.silent()
}

// TestSystemdProgramNotReady: a program that cannot be started is not announced as one
// that serves.
func TestSystemdProgramNotReady(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	m := listenManager(t, socket)
	t.Setenv("NOTIFY_SOCKET", socket)
	nothing := filepath.Join(t.TempDir(), "nothing")
	if err := os.WriteFile(nothing, []byte("\x7fELF"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		app := longGrace()
		app.Logger = discard
		if err := app.Run(t.Context(), pid1.Command(exec.Command(nothing))); err == nil {
			t.Error("Run returned nil")
		}
		if told := m.next(); !strings.HasPrefix(told, "STOPPING=1\n") {
			t.Fatalf("the service manager was told %q, want STOPPING=1", told)
		}
	}
}
