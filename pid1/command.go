// SPDX-License-Identifier: MIT

package pid1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/drain"
	"github.com/entrypoint-go/entrypoint/internal/errs"
	"github.com/entrypoint-go/entrypoint/internal/sig"
)

// Command returns a Server that runs cmd: &Child{Cmd: cmd}. It panics if cmd is nil.
func Command(cmd *exec.Cmd) *Child {
	if cmd == nil {
		panic("pid1: Command: nil *exec.Cmd")
	}
	return &Child{Cmd: cmd}
}

// A Child is a Server that runs a program in a child process, as tini does. The
// server ends when the program ends, and [ExitCode] knows its status.
//
// Signals to this process are passed on to the child, except those that begin a
// stop ([App.Signals]), SIGHUP if [App.OnHangup] is set, those that Go's runtime
// uses (SIGURG, SIGPROF), SIGCHLD, and SIGPIPE unless Rewrite has it. SIGHUP, SIGINT,
// SIGCONT, SIGTSTP, SIGTTIN and SIGTTOU are not passed on either if they were ignored
// when this process started: they stay ignored, in the child too. All other signals have their default action in the child, also if
// they were ignored, as SIGPIPE is by some programs: Go's runtime hides that.
//
// A stop sends the child the signal that began it, or SIGTERM, and SIGKILL
// shortly before the deadline. Off Unix it ends the child at once.
//
// The child has a process group of its own, which becomes the foreground of the
// terminal if Cmd.Stdin is the terminal of this process. Signals go to the child
// alone, or to its whole group if Cmd.SysProcAttr asks for Setpgid, Setsid or
// Foreground.
//
// On Linux, sockets that systemd has opened for this process ($LISTEN_PID,
// $LISTEN_FDS) are the child's, unless Cmd.ExtraFiles or Cmd.SysProcAttr.Chroot is
// set. The child then starts as this program, which executes Cmd before its main
// runs.
type Child struct {
	// Cmd is the program. It must be set, and not be used for anything else. Stdin,
	// Stdout and Stderr are the null device unless they are set. If Stdout or Stderr is
	// not an *os.File, set WaitDelay too: a grandchild that keeps the pipe open
	// would delay the end of the server until a stop runs out of time.
	Cmd *exec.Cmd

	// Rewrite replaces signals on their way to the child, stop signals included:
	// SIGTERM by SIGQUIT, for instance, for a server that drains on SIGQUIT. Nil
	// as a value drops the signal. Signals without an entry are not changed.
	Rewrite map[os.Signal]os.Signal

	once    sync.Once
	settled chan struct{} // see started
	ended   chan struct{} // closed when the child has ended, or never will start
	err     error         // of ListenAndServe; valid when ended is closed
	cut     chan struct{} // closed when a stop waits no longer for the child's output

	// What SysProcAttr asks for, decided before the start.
	group    bool // signals go to the group
	terminal bool // the child's group becomes the foreground

	// mu guards the rest, and keeps signals from a PID that is no longer the
	// child's.
	mu         sync.Mutex
	state      childState
	pending    []os.Signal // that arrived before it ran
	log        *slog.Logger
	complained bool // that signals do not arrive
}

type childState int

const (
	childNew childState = iota
	childStarting
	childRunning
	childEnded     // or could not be started
	childCancelled // never to be started
)

// problem says why the child cannot run, if it cannot.
func (c *Child) problem() string {
	if c.Cmd == nil {
		return "a Child whose Cmd is nil"
	}
	return ""
}

// prepare does once what is needed before anything else.
func (c *Child) prepare() {
	c.once.Do(func() {
		c.settled, c.ended, c.cut = make(chan struct{}), make(chan struct{}), make(chan struct{})
		c.prepareGroup()
	})
}

// started is closed when it is known whether the child runs.
func (c *Child) started() <-chan struct{} {
	c.prepare()
	return c.settled
}

func (c *Child) runs() bool { return c.Cmd.Process != nil }

// ListenAndServe starts the program and returns when it has ended: nil for exit
// status 0, also if Cmd.WaitDelay has cut off its output, an [*exec.ExitError] for
// others, an [*ExecError] if it could not be started. If Shutdown came first it
// starts nothing and returns nil. A Child runs once: a second call is an error.
func (c *Child) ListenAndServe() error {
	c.prepare()
	c.mu.Lock()
	before := c.state
	if before == childNew {
		c.state = childStarting
	}
	c.mu.Unlock()

	switch before {
	case childNew:
		defer close(c.ended)
		c.err = c.run()
		return c.err
	case childCancelled:
		return nil
	}
	return errors.New("pid1: Command: the program was started before: an exec.Cmd runs once, make a new one")
}

func (c *Child) run() error {
	// A child with Pdeathsig dies with the thread that started it, not with the
	// process (golang/go#27505): keep the thread. It waits for the child anyway.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	started := c.passSockets()
	err := c.Cmd.Start()
	started()
	if err != nil {
		c.enter(childEnded)
		return newStartError(c.Cmd, err)
	}
	c.enter(childRunning)

	// As long as the dead child is a zombie, nobody else has its PID. After that
	// no signal must be sent.
	status, ended := c.awaitEnd()
	if !ended {
		// Only Wait can tell. A signal to the child itself is safe meanwhile, by
		// package os; one to its group may come a moment too late.
		defer c.takeTerminal()
		defer c.enter(childEnded)
		return c.collect()
	}
	c.enter(childEnded)
	c.takeTerminal() // others may hold the output for long
	return c.wait(status)
}

// enter enters a state after childStarting.
func (c *Child) enter(state childState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == childStarting {
		defer close(c.settled)
	}
	c.state = state
	if state == childRunning {
		for _, s := range c.pending {
			_ = c.sendLocked(s) // as in signal
		}
	}
	c.pending = nil
}

// ExitCode returns the exit code for a program that runs nothing but this child:
// [ExitCode] of what ListenAndServe returned, whatever else failed in the stop of
// the App. It is 1 before the child has ended, and if it was never started.
func (c *Child) ExitCode() int {
	c.prepare()
	if !c.hasEnded() {
		return exitError
	}
	return ExitCode(c.err)
}

// Shutdown sends the stop signal and waits for the end of the child. When ctx is
// about to end it sends SIGKILL, and returns an error. It returns nil when the
// child has ended before that; ListenAndServe returns the child's status.
func (c *Child) Shutdown(ctx context.Context) error {
	c.prepare()
	if c.cancelStart() || c.hasEnded() {
		return nil
	}
	stopSignal := os.Signal(syscall.SIGTERM)
	if by, ok := errs.AsType[*SignalError](stopCause(ctx)); ok {
		stopSignal = by.Signal
	}
	err := c.stop(c.rewritten(stopSignal))

	cutoff, end := drain.Cutoff(ctx)
	defer end()
	select {
	case <-c.ended:
		return nil
	case <-cutoff.Done():
	}
	if c.cutOutput(false) {
		select {
		case <-c.ended:
		case <-ctx.Done():
		}
		return nil // ListenAndServe reports it
	}
	err = errors.Join(err, c.send(os.Kill))
	c.cutOutput(true)
	select {
	case <-c.ended:
	case <-ctx.Done():
	}
	return errors.Join(fmt.Errorf("still running after %s, killed: %w", sig.Name(stopSignal), cutoff.Err()), err)
}

// logTo sets the log for what a signal's sender is not told.
func (c *Child) logTo(log *slog.Logger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = log
}

func (c *Child) complainLocked(what string, err error) {
	if c.log != nil {
		c.log.Warn(what, "program", c.name(), "error", err)
	}
}

// startWait is how long kill waits for a child that is being started. A start
// takes a millisecond; on a network file system, or a busy machine, more.
const startWait = time.Second

// kill ends the child at once. The caller is about to exit: a child that is
// being started would be left behind, so it is waited for.
func (c *Child) kill() {
	c.prepare()
	if c.cancelStart() {
		return
	}
	_ = c.send(os.Kill) // the caller exits, whatever happens
	c.cutOutput(true)
	select {
	case <-c.settled:
	case <-time.After(startWait):
	}
}

// cancelStart reports whether the child has not been started, and never will.
func (c *Child) cancelStart() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != childNew {
		return false
	}
	c.state = childCancelled
	c.err = errors.New("never started")
	close(c.settled)
	close(c.ended)
	return true
}

func (c *Child) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

func (c *Child) name() string { return filepath.Base(c.Cmd.Path) }
