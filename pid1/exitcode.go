package pid1

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"syscall"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

// ErrForced is in the error that [App.Run] returns when a second stop signal
// cut the shutdown short. The [SignalError] of that signal is in it too.
var ErrForced = errors.New("pid1: shutdown forced")

// Exit codes with a meaning of their own. 124 is what timeout(1) uses; 126, 127
// and 128+n are the shell's (POSIX.1-2024, 2.8.2 Exit Status for Commands).
const (
	exitError    = 1
	exitDeadline = 124
	exitSignal   = 128
)

// Exit ends the process with the status ExitCode(err). An error that [App.Run] has
// not logged yet is logged first, by slog.Default(). Use it as the last line of
// main:
//
//	pid1.Exit(pid1.Run(context.Background(), srv))
func Exit(err error) {
	code := ExitCode(err)
	if err != nil && !isLogged(err) {
		slog.Error("failed", "error", err, "exit_code", code)
	}
	os.Exit(code)
}

// A logged error is one that Run has logged. Error, errors.Is and errors.As show
// the error inside.
type logged struct{ err error }

func (e *logged) Error() string { return e.err.Error() }
func (e *logged) Unwrap() error { return e.err }

// isLogged reports whether err, or all that is joined in it, has been logged.
func isLogged(err error) bool {
	switch e := err.(type) {
	case *logged:
		return true
	case interface{ Unwrap() error }:
		return isLogged(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			if !isLogged(err) {
				return false
			}
		}
		return len(e.Unwrap()) > 0
	}
	return false
}

// ExitCode returns the status that main should exit with after err:
//
//	0        err is nil: a clean stop
//	128+n    signal n forced the stop (ErrForced)
//	the code of a [Command] that ended by itself or was stopped, or 128+n if signal n ended it
//	126, 127 a program could not be run, or was not found ([Exec], [Command])
//	124      a deadline passed: the error is a context.DeadlineExceeded
//	1        any other error
//
// The first line that fits counts. The exit status of a program counts if Run
// runs the program, or if err is the program's error itself; not if a shutdown
// hook used one. An error with a method ExitCode() int counts like a program's
// if the result is from 1 to 255.
//
// Exit with the code, see [Exit]; do not raise a signal instead: the kernel drops
// the default action of signals for PID 1, and Go then exits with 2.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, ErrForced) {
		return forcedCode(err)
	}
	var ended *ServerError
	if errors.As(err, &ended) {
		if code := programCode(ended.Err); code != 0 {
			return code
		}
		return exitError
	}
	if code := programCode(err); code != 0 {
		return code
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return exitDeadline
	}
	return exitError
}

func forcedCode(err error) int {
	var by *SignalError
	if errors.As(err, &by) {
		if n, ok := by.Signal.(syscall.Signal); ok {
			return exitSignal + int(n)
		}
	}
	return exitError
}

// programCode returns the exit status of a program that failed with err, or 0.
func programCode(err error) int {
	switch e := err.(type) {
	case nil, *shutdown.HookError:
		return 0
	case *exec.ExitError:
		if status, ok := e.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return exitSignal + int(status.Signal())
		}
		return e.ExitCode()
	case interface{ ExitCode() int }:
		if code := e.ExitCode(); code >= 1 && code <= 255 {
			return code
		}
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return programCode(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			if code := programCode(err); code != 0 {
				return code
			}
		}
	}
	return 0
}
