//go:build unix

package pid1

import (
	"errors"
	"os"
	"syscall"

	"github.com/entrypoint-go/entrypoint/internal/linux"
	"github.com/entrypoint-go/entrypoint/internal/sig"
)

const sigCont = syscall.SIGCONT

// prepareGroup reads from SysProcAttr where signals go, and adds a group and the
// terminal to it.
func (c *Child) prepareGroup() {
	var attr syscall.SysProcAttr
	if c.Cmd.SysProcAttr != nil {
		attr = *c.Cmd.SysProcAttr
	}
	c.group = attr.Setpgid || attr.Setsid || attr.Foreground
	attr.Setpgid = !attr.Setsid
	if file, ok := c.Cmd.Stdin.(*os.File); ok && !attr.Setsid && !attr.Foreground && inForeground(file) {
		attr.Foreground = true
		attr.Ctty = int(file.Fd())
	}
	c.terminal = attr.Foreground
	c.Cmd.SysProcAttr = &attr
}

// sendSignal sends a signal to the child, or to its group.
func (c *Child) sendSignal(s os.Signal) error {
	number, ok := s.(syscall.Signal)
	if !c.group || !ok {
		return c.Cmd.Process.Signal(s)
	}
	pgid := c.Cmd.Process.Pid
	if attr := c.Cmd.SysProcAttr; attr.Pgid != 0 && !attr.Setsid {
		pgid = attr.Pgid
	}
	err := syscall.Kill(-pgid, number)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// stop asks the child to end. SIGCONT is for a child that is stopped.
func (c *Child) stop(s os.Signal) error {
	return errors.Join(c.send(s), c.send(syscall.SIGCONT))
}

// signals returns those to pass on.
func (c *Child) signals() (signals []os.Signal) {
	c.prepare()
	for _, s := range sig.Catchable() {
		// A background process that writes to the terminal gets SIGTTOU, and
		// with a handler the kernel restarts the write, which gets SIGTTOU.
		if c.terminal && (s == syscall.SIGTTIN || s == syscall.SIGTTOU) {
			continue
		}
		signals = append(signals, s)
	}
	if _, ok := c.Rewrite[syscall.SIGPIPE]; ok {
		signals = append(signals, syscall.SIGPIPE)
	}
	return signals
}

// awaitEnd returns when the child has ended, and leaves its status to Wait. Off
// Linux it returns at once. When the child stops, it stops this process.
func (c *Child) awaitEnd() {
	linux.AwaitExit(c.Cmd.Process.Pid, func(stoppedBy syscall.Signal) {
		// A shell that started us waits for us to stop, not for the child. But
		// SIGSTOP comes from a debugger or an operator, and is for the child.
		switch stoppedBy {
		case syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU:
			// The kernel does not stop PID 1. In an orphaned process group nobody
			// would continue this process, when somebody continues the child.
			if !IsInit() && !linux.GroupOrphaned() {
				syscall.Kill(syscall.Getpid(), syscall.SIGSTOP)
			}
		}
	})
}

// peekStatus is the exit status of the child, which has ended and has not been
// waited for.
func (c *Child) peekStatus() int { return linux.PeekStatus(c.Cmd.Process.Pid) }

// inForeground reports whether file is the terminal of this session, and this
// process in its foreground.
func inForeground(file *os.File) bool {
	pgrp, err := linux.Foreground(file)
	return err == nil && pgrp == syscall.Getpgrp()
}

// giveTerminal makes the child's group the foreground again, after this process
// and the child were stopped and a shell has woken this process in the
// foreground.
func (c *Child) giveTerminal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	file, ok := c.Cmd.Stdin.(*os.File)
	if c.terminal && ok && c.state == childRunning && inForeground(file) {
		_ = linux.SetForeground(file, c.Cmd.Process.Pid) // the terminal may have gone
	}
}

// takeTerminal undoes Foreground when the child has ended, so that Ctrl-C
// reaches this process during the rest of the stop.
func (c *Child) takeTerminal() {
	file, ok := c.Cmd.Stdin.(*os.File)
	if !c.terminal || !ok {
		return
	}
	if pgrp, err := linux.Foreground(file); err == nil && pgrp == c.Cmd.Process.Pid {
		_ = linux.SetForeground(file, syscall.Getpgrp())
	}
}
