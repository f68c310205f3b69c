package pid1

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Command makes a Server of a program: &Child{Cmd: cmd}, see [Child]. It panics
// if cmd is nil.
func Command(cmd *exec.Cmd) Server {
	if cmd == nil {
		panic("pid1: Command: nil *exec.Cmd")
	}
	return &Child{Cmd: cmd}
}

// A Child is a Server that runs a program in a child process, as tini does: it
// passes signals on, and its end is the end of the server, see [ExitCode].
//
// # Signals
//
// Every signal that this process can catch is sent to the child, from before it
// starts to its end, save those that begin a stop ([App.Signals]; SIGHUP if
// [App.OnHangup] is set) and the following:
//
//   - SIGCHLD, which is about this process's children, SIGURG and SIGPROF, which
//     belong to Go's runtime, and the signals 32 to 34 of the C library.
//   - SIGPIPE, unless Rewrite has it: each write of this process to a broken
//     connection raises one, which would end the child.
//   - SIGTTIN and SIGTTOU when the child has the terminal.
//   - Those that were ignored when this process started, by nohup(1) for
//     instance, as far as Go leaves them ignored: SIGHUP, SIGINT, SIGCONT,
//     SIGTSTP; see Exec for the others. They stay ignored, here and in the child.
//
// Several signals of one number that arrive at the same moment may become one,
// real-time signals too. The child starts with the signals ignored and blocked
// that this process was started with, with the limits that [Exec] tells of.
//
// # Process group and terminal
//
// The child always gets a process group of its own, so that Ctrl-C reaches it
// once and not twice. If Cmd.Stdin is the terminal that this process is in the
// foreground of, the child's group becomes the foreground (on Linux): shells
// and their job control work. When SIGTSTP, SIGTTIN or SIGTTOU stops the child,
// this process stops too (on Linux, not as PID 1), and SIGCONT wakes both.
//
// Signals go to the child alone, or to all processes of its group if
// Cmd.SysProcAttr asks for Setpgid, Setsid or Foreground. If it asks for
// Pdeathsig, the thread that starts the child lives as long as the child: the
// kernel sends that signal at the end of the thread, not of the process.
//
// # Stop
//
// Shutdown sends the signal that began the stop, or SIGTERM if it was none, and
// then SIGCONT, for a child that is stopped. Shortly before the deadline it
// sends SIGKILL. Off Unix, where there are no such signals, it ends the child
// at once. A Child never counts as a server of requests for App.Delay.
//
// # Cmd
//
// The Cmd must be used for nothing else. As in any other use of it, its Stdin,
// Stdout and Stderr are the null device unless they are set. If Stdout is not
// an *os.File, set WaitDelay too: a grandchild that keeps the pipe open would
// delay the end of the server.
type Child struct {
	Cmd *exec.Cmd

	// Rewrite replaces signals on their way to the child, the stop signal
	// included: SIGTERM by SIGQUIT, say, for a server that drains on that.
	// Nil drops a signal. A signal that is replaced is not looked up again.
	Rewrite map[os.Signal]os.Signal

	once    sync.Once
	settled chan struct{} // closed when it is known whether the child runs
	ended   chan struct{} // closed when the child has ended, or never will start
	err     error         // of ListenAndServe; valid when ended is closed

	// What SysProcAttr asks for, settled before the start.
	group    bool // signals go to the group
	terminal bool // the child's group becomes the foreground

	mu      sync.Mutex // guards the rest, and keeps signals from a PID that is no longer the child's
	state   childState
	pending []os.Signal // what came before it ran
}

type childState int

const (
	childNew childState = iota
	childStarting
	childRunning
	childEnded // or never to be started
)

// prepare settles what can be before the start.
func (c *Child) prepare() {
	c.once.Do(func() {
		c.settled, c.ended = make(chan struct{}), make(chan struct{})
		c.prepareGroup()
	})
}

// ListenAndServe starts the program and returns when it has ended: nil for exit
// status 0, an [*exec.ExitError] for others, an [*ExecError] if it could not be
// started. After Shutdown it starts nothing and returns nil.
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
	case childEnded:
		return nil
	}
	return errors.New("pid1: Command: an exec.Cmd runs once, make a new one")
}

func (c *Child) run() error {
	if c.needsThread() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	if err := c.start(); err != nil {
		c.became(childEnded)
		return execError(c.Cmd.Path, err)
	}
	c.became(childRunning)

	// While the dead child is a zombie its PID, and that of its group, cannot
	// be another's. After that no signal must be sent.
	c.awaitEnd()
	c.became(childEnded)
	defer c.takeTerminal()
	return c.Cmd.Wait()
}

// became enters a state after childStarting.
func (c *Child) became(state childState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == childStarting {
		defer close(c.settled)
	}
	c.state = state
	if state == childRunning {
		for _, sig := range c.pending {
			c.sendLocked(sig)
		}
	}
	c.pending = nil
}

// ExitCode is the status that a program should exit with that runs nothing but
// this child: [ExitCode] of what ListenAndServe returned, whatever else failed in
// the stop of the App. It is 1 before the child has ended, and if it was never
// started.
func (c *Child) ExitCode() int {
	c.prepare()
	if !c.hasEnded() {
		return exitError
	}
	return ExitCode(c.err)
}

// Shutdown ends the child, see [Child]. It returns nil when the child has ended
// by itself after the stop signal, whatever its status, which is
// ListenAndServe's to tell.
func (c *Child) Shutdown(ctx context.Context) error {
	c.prepare()
	if c.cancelStart() || c.hasEnded() {
		return nil
	}
	sig := os.Signal(syscall.SIGTERM)
	if by := (*SignalError)(nil); errors.As(stopCause(ctx), &by) {
		sig = by.Signal
	}
	err := c.stop(c.rewritten(sig))

	cut := cutoff(ctx)
	defer cut.Stop()
	select {
	case <-c.ended:
		return nil
	case <-cut.C:
	case <-ctx.Done():
	}
	err = errors.Join(err, c.send(os.Kill))
	select {
	case <-c.ended:
	case <-ctx.Done():
	}
	return errors.Join(fmt.Errorf("still running after %s, killed: %w", signalName(sig), cutReason(ctx)), err)
}

// startWait is how long kill waits for a child that is being started. It takes a
// millisecond; on a network file system, or a busy machine, more.
const startWait = time.Second

// kill ends the child at once. The caller is about to exit: a child that is
// being started would be left behind, so it is waited for.
func (c *Child) kill() {
	c.prepare()
	if c.cancelStart() {
		return
	}
	_ = c.send(os.Kill) // nothing is left to do about an error
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
	c.state = childEnded
	c.err = errors.New("never started")
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

// signal passes sig on. It has nobody to tell that the child has changed its
// user and cannot be signalled; Shutdown has.
func (c *Child) signal(sig os.Signal) {
	if sig == sigCont {
		c.giveTerminal()
	}
	_ = c.send(c.rewritten(sig))
}

// rewritten is sig as the child gets it: nil if it does not.
func (c *Child) rewritten(sig os.Signal) os.Signal {
	if to, ok := c.Rewrite[sig]; ok {
		return to
	}
	return sig
}

// send sends sig to the child, at once or when it has started. It does nothing
// if the child has ended, or sig is nil.
func (c *Child) send(sig os.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case sig == nil:
	case c.state == childRunning:
		return c.sendLocked(sig)
	case c.state != childEnded:
		c.pending = append(c.pending, sig)
	}
	return nil
}

// sendLocked sends sig to the child, or to its group. That the child has ended
// is no error.
func (c *Child) sendLocked(sig os.Signal) error {
	err := c.kick(sig)
	if err == nil || errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return fmt.Errorf("send %s: %w", signalName(sig), err)
}
