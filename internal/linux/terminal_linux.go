// SPDX-License-Identifier: MIT

package linux

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Foreground returns the foreground process group of the terminal, as
// tcgetpgrp(3) does. It fails if file is not this session's terminal.
func Foreground(file *os.File) (pgrp int, err error) {
	ctlErr := control(file, func(fd int) {
		var group uint32
		group, err = unix.IoctlGetUint32(fd, unix.TIOCGPGRP)
		pgrp = int(group)
	})
	if ctlErr != nil {
		return 0, ctlErr
	}
	return pgrp, err
}

// SetForeground makes pgrp the foreground process group of the terminal, as
// tcsetpgrp(3) does. In a background process that raises SIGTTOU, whose default
// action would stop it, so the signal is blocked meanwhile.
func SetForeground(file *os.File, pgrp int) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var ttou, old unix.Sigset_t
	ttou.Val[0] = 1 << (unix.SIGTTOU - 1) // the first word has at least 32 signals
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &ttou, &old); err != nil {
		return err
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)

	ctlErr := control(file, func(fd int) {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, pgrp)
	})
	if ctlErr != nil {
		return ctlErr
	}
	return err
}

func control(file *os.File, f func(fd int)) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Control(func(fd uintptr) { f(int(fd)) })
}

// GroupOrphaned reports whether nobody can be expected to continue this process
// when it is stopped: it has no ancestor with another process group in the same
// session, as a shell with job control is. The kernel does not stop such a process
// by SIGTSTP (POSIX.1-2024, 3.264 Orphaned Process Group). A PID 1 that does not
// ignore SIGTSTP, as those shells do, counts for nothing: tini and others give their
// child a group, and continue nobody.
func GroupOrphaned() bool {
	group, session := unix.Getpgrp(), getsid(0)
	for parent := os.Getppid(); parent > 0; {
		pgid, err := unix.Getpgid(parent)
		if err != nil || getsid(parent) != session {
			return true
		}
		if pgid != group {
			return parent == 1 && !Ignores(parent, unix.SIGTSTP)
		}
		p, err := ReadProcess(parent)
		if err != nil {
			return true
		}
		parent = p.Parent
	}
	return true
}

func getsid(pid int) int {
	sid, _ := unix.Getsid(pid)
	return sid
}
