// SPDX-License-Identifier: MIT

//go:build linux

package pid1_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// TestSystemd: what a service manager is told, by a socket with a path and by an
// abstract one.
func TestSystemd(t *testing.T) {
	sockets := map[string]string{
		"path":     filepath.Join(t.TempDir(), "notify"),
		"abstract": fmt.Sprintf("@entrypoint-test-%d", os.Getpid()),
	}
	for name, socket := range sockets {
		t.Run(name, func(t *testing.T) {
			manager, err := net.ListenPacket("unixgram", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer manager.Close()
			manager.SetReadDeadline(time.Now().Add(time.Minute)) // against a test that hangs
			next := func() string {
				t.Helper()
				message := make([]byte, 1000)
				n, _, err := manager.ReadFrom(message)
				if err != nil {
					t.Fatal(err)
				}
				return string(message[:n])
			}
			t.Setenv("NOTIFY_SOCKET", socket)
			ctx, cancel := context.WithCancelCause(t.Context())
			app := pid1.App{Logger: discard, Shutdown: shutdown.Pipeline{Grace: 90 * time.Second}}
			done := make(chan error)
			go func() { done <- app.Run(ctx, pid1.Named("job", pid1.Func(worker))) }()

			if got, want := next(), "READY=1\nSTATUS=serving job\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			// A cause of several lines must not become several assignments.
			cancel(fmt.Errorf("two lines\nREADY=1"))
			if got, want := next(), "STOPPING=1\nSTATUS=stopping: two lines; READY=1\nEXTEND_TIMEOUT_USEC=90000000\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSystemdGone: a service manager that cannot be told does no harm.
func TestSystemdGone(t *testing.T) {
	full := filepath.Join(t.TempDir(), "full")
	manager, err := net.ListenPacket("unixgram", full)
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	fill(t, full)

	for _, socket := range []string{full, "/no/such/socket", "vsock:2:1234"} {
		t.Setenv("NOTIFY_SOCKET", socket)
		var log strings.Builder
		app := pid1.App{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		ctx, cancel := context.WithCancel(t.Context())
		err := app.Run(ctx, pid1.Func(func(ctx context.Context) error {
			cancel()
			return worker(ctx)
		}))
		cancel()
		if err != nil || !strings.Contains(log.String(), "NOTIFY_SOCKET") {
			t.Errorf("%s: err %v, log:\n%s", socket, err, &log)
		}
	}
}

// The service manager is told READY=1 when the steps of OnReady are done, and not
// before.
func TestSystemdAfterOnReady(t *testing.T) {
	manager := listenNotify(t)
	message := make([]byte, 4096)
	var app pid1.App
	app.OnReady("warm", func(context.Context) error {
		manager.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, _, err := manager.ReadFrom(message); err == nil {
			t.Errorf("in OnReady it was told %q", message[:n])
		}
		return nil
	})
	s := run(t, &app, pid1.Func(worker))
	<-stopWhenReady(&app)
	manager.SetReadDeadline(time.Now().Add(time.Minute)) // against a test that hangs
	if n, _, err := manager.ReadFrom(message); err != nil || !strings.HasPrefix(string(message[:n]), "READY=1\n") {
		t.Errorf("then it was told %q, %v", message[:n], err)
	}
	s.stopCleanly()
}

// TestSystemdNoDescriptor: a change that comes while no descriptor is free reaches the
// service manager when one is, before those that come after it.
func TestSystemdNoDescriptor(t *testing.T) {
	take, free := nstest.Descriptors(t)
	socket := filepath.Join(t.TempDir(), "notify")
	m := listenManager(t, socket)
	t.Setenv("NOTIFY_SOCKET", socket)
	app := pid1.App{Logger: discard}
	app.OnReady("take", func(context.Context) error { take(); return nil })
	app.Shutdown.Defer("free", func(context.Context) error { time.Sleep(50 * time.Millisecond); free(); return nil })
	done := make(chan error)
	go func() {
		done <- app.Run(t.Context(), pid1.Func(func(context.Context) error {
			<-stopWhenReady(&app)
			time.Sleep(50 * time.Millisecond) // READY=1 cannot be sent
			free()
			time.Sleep(50 * time.Millisecond)
			take() // nor can STOPPING=1
			return nil
		}))
	}()
	for _, want := range []string{"READY=1\n", "STOPPING=1\n"} {
		if got := m.next(); !strings.HasPrefix(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
