// SPDX-License-Identifier: MIT

//go:build unix

package pid1

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
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
	err := syscall.Kill(-c.pgid(), number)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// pgid is the process group of the child, which has been started.
func (c *Child) pgid() int {
	if attr := c.Cmd.SysProcAttr; attr.Pgid != 0 && !attr.Setsid {
		return attr.Pgid
	}
	return c.Cmd.Process.Pid
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

// awaitEnd returns the exit status of the child when that has ended, and leaves it
// to Wait. Where that cannot be done it returns at once, and ended is false. When
// the child stops, awaitEnd stops this process.
func (c *Child) awaitEnd() (status int, ended bool) {
	return linux.AwaitExit(c.Cmd.Process.Pid, func(stoppedBy syscall.Signal) {
		// A shell that started us waits for us to stop, not for the child. But
		// SIGSTOP comes from a debugger or an operator, and is for the child.
		switch stoppedBy {
		case syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU:
			// The kernel does not stop PID 1. In an orphaned process group nobody
			// would continue this process, when somebody continues the child.
			if IsInit() || linux.GroupOrphaned() {
				return
			}
			// Had the child no group of its own, Ctrl-Z would stop all of ours: the
			// shell waits until its whole job has stopped, "app | cat" for instance.
			pid := syscall.Getpid()
			if c.terminal {
				pid = 0 // the group
			}
			syscall.Kill(pid, syscall.SIGSTOP)
		}
	})
}

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
		_ = linux.SetForeground(file, c.pgid()) // the terminal may have gone
	}
}

// takeTerminal undoes Foreground when the child has ended, so that Ctrl-C
// reaches this process during the rest of the stop.
func (c *Child) takeTerminal() {
	file, ok := c.Cmd.Stdin.(*os.File)
	if !c.terminal || !ok {
		return
	}
	if pgrp, err := linux.Foreground(file); err == nil && pgrp == c.pgid() {
		_ = linux.SetForeground(file, syscall.Getpgrp())
	}
}

// Socket activation, sd_listen_fds(3): $LISTEN_FDS descriptors from 3 on are for
// the process that $LISTEN_PID names. A Child needs them with its own PID, which
// nobody knows before it runs. So it is started through this program once more,
// whose initialisation writes the PID and executes the real program.
const (
	listenPID   = "LISTEN_PID"
	listenPidfd = "LISTEN_PIDFDID" // by systemd 258: the same by a pidfd's inode; not checked if unset
	listenFDs   = "LISTEN_FDS"
	listenFor   = "ENTRYPOINT_LISTEN_FOR" // the real program
	selfExe     = "/proc/self/exe"        // this one
)

var _ = becomeListener()

// becomeListener is for the process that passSockets starts. In all others it does
// nothing.
func becomeListener() (none struct{}) {
	path, ok := os.LookupEnv(listenFor)
	if !ok {
		return
	}
	env := []string{listenPID + "=" + strconv.Itoa(os.Getpid())}
	for _, entry := range os.Environ() {
		switch name, _, _ := strings.Cut(entry, "="); name {
		case listenPID, listenPidfd, listenFor:
		default:
			env = append(env, entry)
		}
	}
	// Without its Cause: what finds that would be in every program. Signals are still
	// as at the start of this process.
	err := &ExecError{Path: path, Found: true, Err: syscall.Exec(path, os.Args, env)}
	os.Stderr.WriteString(err.Error() + "\n")
	os.Exit(err.ExitCode())
	return
}

// passSockets changes c.Cmd so that the sockets which are for this process are for
// the child, and returns what undoes that after the start. It changes nothing if
// there are none, if Cmd has ExtraFiles, which have the same numbers, and where
// there is no /proc/self/exe.
func (c *Child) passSockets() (started func()) {
	if runtime.GOOS != "linux" || c.Cmd.SysProcAttr.Chroot != "" || len(c.Cmd.ExtraFiles) > 0 {
		return func() {}
	}
	env := c.Cmd.Environ()
	number := func(name string) int {
		n := 0
		for _, entry := range env {
			if value, ok := strings.CutPrefix(entry, name+"="); ok { // the last one counts
				n, _ = strconv.Atoi(value)
			}
		}
		return n
	}
	n, path, args, was := number(listenFDs), c.Cmd.Path, c.Cmd.Args, c.Cmd.Env
	if number(listenPID) != os.Getpid() || n <= 0 || c.Cmd.Err != nil || !executable(path) || !executable(selfExe) {
		return func() {}
	}
	var sockets []*os.File
	started = func() {
		for _, s := range sockets {
			s.Close()
		}
		c.Cmd.Path, c.Cmd.Args, c.Cmd.ExtraFiles, c.Cmd.Env = path, args, nil, was
	}
	for fd := 3; fd < 3+n; fd++ {
		// A copy: an os.File of the descriptor itself would close it one day.
		syscall.ForkLock.RLock()
		socket, err := syscall.Dup(fd)
		if err == nil {
			syscall.CloseOnExec(socket)
		}
		syscall.ForkLock.RUnlock()
		if err != nil {
			started()
			return func() {}
		}
		sockets = append(sockets, os.NewFile(uintptr(socket), "socket"))
	}
	if len(args) == 0 {
		c.Cmd.Args = []string{path} // else argv[0] would be selfExe
	}
	c.Cmd.Path, c.Cmd.ExtraFiles = selfExe, sockets
	c.Cmd.Env = append(env, listenFor+"="+path)
	return started
}

// executable is a guess: where it is wrong, the sockets do not pass, or the error
// is in the child's standard error and in its exit status.
func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
