//go:build unix

package pid1

import (
	"errors"
	"os"
	"syscall"
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

// kick sends a signal, now.
func (c *Child) kick(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !c.group || !ok {
		return c.Cmd.Process.Signal(sig)
	}
	pgid := c.Cmd.Process.Pid
	if attr := c.Cmd.SysProcAttr; attr.Pgid != 0 && !attr.Setsid {
		pgid = attr.Pgid
	}
	err := syscall.Kill(-pgid, s)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// stop asks the child to end.
func (c *Child) stop(sig os.Signal) error {
	return errors.Join(c.send(sig), c.send(syscall.SIGCONT))
}

// signals are those to pass on.
func (c *Child) signals() (sigs []os.Signal) {
	c.prepare()
	for _, sig := range catchable() {
		// A background process that writes to the terminal gets SIGTTOU, and
		// with a handler the kernel restarts the write, which gets SIGTTOU.
		if c.terminal && (sig == syscall.SIGTTIN || sig == syscall.SIGTTOU) {
			continue
		}
		sigs = append(sigs, sig)
	}
	if _, ok := c.Rewrite[syscall.SIGPIPE]; ok && !leftIgnored(syscall.SIGPIPE) {
		sigs = append(sigs, syscall.SIGPIPE)
	}
	return sigs
}
