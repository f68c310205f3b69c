// SPDX-License-Identifier: MIT

package pid1

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/asynclog"
	"github.com/entrypoint-go/entrypoint/internal/errs"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// ErrForced is in the error that [App.Run] returns when a second stop signal
// cut the shutdown short. The [SignalError] of that signal is in it too.
var ErrForced = errors.New("pid1: shutdown forced")

// Exit codes with a meaning of their own. 124 is what timeout(1) uses; 126, 127
// and 128+n are the shell's (POSIX.1-2024, 2.8.2 Exit Status for Commands).
const (
	exitError    = 1
	exitPanic    = 2 // Go's own
	exitDeadline = 124
	exitSignal   = 128
)

// Exit ends the process with the status ExitCode(err). An error that [App.Run] has
// not logged yet is logged first, by slog.Default(). Like os.Exit it runs no deferred
// function. Use it as the last line of
// main:
//
//	pid1.Exit(pid1.Run(context.Background(), srv))
func Exit(err error) {
	code := ExitCode(err)
	if err != nil && !isLogged(err) {
		log := asynclog.New(nil) // a log that blocks must not keep the process
		slog.New(log).Error("exiting with an error", "error", err, "exit_code", code)
		log.Flush(shortWait)
	}
	os.Exit(code)
}

// A logged error is one that Run has logged. Error, errors.Is and errors.As show
// the error inside.
type logged struct {
	err  error
	code int // ExitCode of err, found while nobody had to wait for it
}

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

// ExitCode returns the status that main should exit with after err. The first line
// that applies counts:
//
//	0         err is nil: a clean stop
//	128+n     signal n forced the stop (ErrForced)
//	2         a function of yours panicked; Go uses 2, too
//	128+n     signal n began the stop and interrupted a Job; 1 if it was no signal
//	its own   the program of a Command ended; 128+n if signal n ended it
//	126, 127  a program could not be run, or was not found (Exec, Command)
//	1         a server, a Func or a Job ended with an error
//	124       a step, a hook or the drain ran out of time (context.DeadlineExceeded)
//	1         any other error
//
// The status of a program counts only if Run ran
// it as a Command, or if err is its [*exec.ExitError] itself; one that a Func or a
// hook ran counts as 1. An error with a method ExitCode() int counts like a
// program's if the result is from 1 to 255.
//
// Do not re-raise a signal to die by it, as shell programs do: PID 1 cannot die of
// its own signal, and Go's runtime would exit with 2.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if l, ok := errs.AsType[*logged](err); ok {
		return l.code
	}
	if errors.Is(err, ErrForced) {
		return signalCode(err)
	}
	if hasPanic(err) {
		return exitPanic
	}
	if interrupted, ok := errs.AsType[*interruptedError](err); ok {
		return signalCode(interrupted)
	}
	if ended, ok := errs.AsType[*ServerError](err); ok {
		return ended.exitCode()
	}
	if code := statusOf(err); code != 0 {
		return code
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return exitDeadline
	}
	return exitError
}

// boundedExitCode is ExitCode for an error whose methods may panic or hang.
func boundedExitCode(err error, wait time.Duration) int {
	code := exitError
	c := goCall("error", func() error { code = ExitCode(err); return nil }, nil)
	if c.endsWithin(wait) {
		return code
	}
	return exitError
}

// exitCode is that of the program, if the server is one. A worker that uses a
// program has no exit code: "signal: killed", from exec.CommandContext, would
// read as out of memory.
func (e *ServerError) exitCode() int {
	code := 0
	if e.program {
		code = statusOf(e.Err)
	} else {
		code = exitCodeIn(e.Err)
	}
	return cmp.Or(code, exitError)
}

// hasPanic reports whether a function of the user's panicked, in any part of err.
func hasPanic(err error) bool {
	if e, ok := err.(*shutdown.HookError); ok && e.Panic != nil {
		return true
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return hasPanic(e.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), hasPanic)
	}
	return false
}

// A processError is an *exec.ExitError. The type itself would link package os/exec
// into programs that run no others.
type processError interface {
	error
	ExitCode() int
	Sys() any
}

// signalCode is 128+n if signal n is in err.
func signalCode(err error) int {
	if by, ok := errs.AsType[*SignalError](err); ok {
		if n, ok := by.Signal.(syscall.Signal); ok {
			return exitSignal + int(n)
		}
	}
	return exitError
}

// statusOf returns the exit status of the program whose end err is, or that of
// exitCodeIn.
func statusOf(err error) int {
	e, ok := err.(processError)
	if !ok {
		return exitCodeIn(err)
	}
	if status, ok := e.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitSignal + int(status.Signal())
	}
	return e.ExitCode()
}

// exitCodeIn returns the exit code that an error in err asks for, or 0. The program
// of an *exec.ExitError in there was only a means.
func exitCodeIn(err error) int {
	switch e := err.(type) {
	case nil, *shutdown.HookError, processError:
		return 0
	case interface{ ExitCode() int }:
		if code := e.ExitCode(); code >= 1 && code <= 255 {
			return code
		}
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return exitCodeIn(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			if code := exitCodeIn(err); code != 0 {
				return code
			}
		}
	}
	return 0
}
