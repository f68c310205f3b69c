// SPDX-License-Identifier: MIT

package pid1_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

type coded int

func (c coded) Error() string { return fmt.Sprint("code ", int(c)) }
func (c coded) ExitCode() int { return int(c) }

func TestExitCode(t *testing.T) {
	boom := errors.New("boom")
	forced := func(sig syscall.Signal) error {
		return fmt.Errorf("%w: %w", pid1.ErrForced, &pid1.SignalError{Signal: sig})
	}
	server := func(err error) error { return &pid1.ServerError{Server: "s", Err: err} }
	hook := func(err error) error { return &shutdown.HookError{Name: "h", Err: err} }
	tests := []struct {
		err  error
		want int
	}{
		{nil, 0},
		{boom, 1},
		{context.DeadlineExceeded, 124},
		{hook(boom), 1},
		{hook(context.DeadlineExceeded), 124},
		{errors.Join(hook(boom), hook(context.DeadlineExceeded)), 124},
		{server(boom), 1},
		{server(context.DeadlineExceeded), 1},
		{errors.Join(server(boom), hook(context.DeadlineExceeded)), 1},
		{pid1.ErrForced, 1},
		{forced(syscall.SIGTERM), 143},
		{forced(syscall.SIGINT), 130},
		{errors.Join(forced(syscall.SIGTERM), server(boom), hook(context.DeadlineExceeded)), 143},
		{coded(126), 126},
		{fmt.Errorf("exec: %w", coded(127)), 127},
		{server(coded(126)), 126},
		{hook(server(coded(3))), 3},
		{hook(coded(3)), 1},
		{errors.Join(boom, coded(3)), 3},
		{coded(0), 1},
		{coded(-1), 1},
		{coded(256), 1},
		{coded(255), 255},
	}
	for _, test := range tests {
		if got := pid1.ExitCode(test.err); got != test.want {
			t.Errorf("ExitCode(%v) = %d, want %d", test.err, got, test.want)
		}
	}
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if got, want := pid1.ExitCode(forced(sig)), 128+int(sig); got != want {
			t.Errorf("forced by %v: %d, want %d", sig, got, want)
		}
	}
}

// TestExitCodeOfProgram takes the errors from real processes.
func TestExitCodeOfProgram(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a POSIX shell")
	}
	tests := []struct {
		script string
		want   int
	}{
		{"exit 0", 0},
		{"exit 1", 1},
		{"exit 7", 7},
		{"exit 255", 255},
		{"kill -TERM $$", 143},
		{"kill -KILL $$", 137},
	}
	for _, test := range tests {
		err := exec.Command("/bin/sh", "-c", test.script).Run()
		if got := pid1.ExitCode(err); got != test.want {
			t.Errorf("%s: %d, want %d", test.script, got, test.want)
		}
		if err == nil {
			continue
		}
		inWorker := &pid1.ServerError{Server: "worker", Err: err} // TestCommandExitCode has a Command's
		if got := pid1.ExitCode(inWorker); got != 1 {
			t.Errorf("%s, in a worker: %d, want 1", test.script, got)
		}
		if got := pid1.ExitCode(&shutdown.HookError{Name: "hook", Err: err}); got != 1 {
			t.Errorf("%s, in a hook: %d, want 1", test.script, got)
		}
		if got := pid1.ExitCode(fmt.Errorf("migrate: %w", err)); got != 1 {
			t.Errorf("%s, in another error: %d, want 1", test.script, got)
		}
		app := pid1.App{Logger: discard}
		app.Before("migrate", func(context.Context) error { return err })
		if got := pid1.ExitCode(app.Run(t.Context(), pid1.Func(worker))); got != 1 {
			t.Errorf("%s, in a step of Before: %d, want 1", test.script, got)
		}
	}
}

func TestSignalErrorIsCanceled(t *testing.T) {
	err := error(&pid1.SignalError{Signal: syscall.SIGTERM})
	if !errors.Is(err, context.Canceled) {
		t.Error("a SignalError is not context.Canceled")
	}
	if got, want := err.Error(), "received SIGTERM"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}
