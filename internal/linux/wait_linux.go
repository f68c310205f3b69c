// SPDX-License-Identifier: MIT

package linux

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Child is what waitid(2) says about a child. PID is 0 when no child is in
// the state that was asked for.
type Child struct {
	PID    int
	Code   int // CLD_EXITED, CLD_KILLED, CLD_DUMPED, CLD_STOPPED, …
	Status int // the exit status, or the number of the signal
}

// Exited reports whether the child called exit, so that Status is its exit
// status and not a signal.
func (c Child) Exited() bool {
	const exited = 1 // CLD_EXITED
	return c.Code == exited
}

// childFields is the part of a siginfo_t that unix.Siginfo leaves blank. It
// stands behind three int32, on a boundary for pointers
// (include/uapi/asm-generic/siginfo.h).
type childFields struct {
	pid    int32
	_      uint32 // the real user ID
	status int32
}

const childOffset = (3*4 + unsafe.Sizeof(uintptr(0)) - 1) &^ (unsafe.Sizeof(uintptr(0)) - 1)

func newChild(info *unix.Siginfo) Child {
	f := (*childFields)(unsafe.Add(unsafe.Pointer(info), childOffset))
	return Child{PID: int(f.pid), Code: int(info.Code), Status: int(f.status)}
}

// Waitid is waitid(2). The type of the ID is unix.P_PID, P_PIDFD or P_ALL.
func Waitid(idType, id, options int) (Child, error) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(idType, id, &info, options, nil)
		if err != unix.EINTR {
			return newChild(&info), err
		}
	}
}

// Peek returns the PID of a dead child that is selected by idType and id, and
// leaves it a zombie. It returns 0 when the child lives, when there is no such
// child, and when id is not a pidfd. It never blocks.
func Peek(idType, id int) (pid int) {
	var info unix.Siginfo
	if peek(idType, id, &info) != 0 {
		return 0
	}
	return newChild(&info).PID
}

// PeekAny is Peek at the first of all children. It returns an error only where
// the system call is refused, by a seccomp filter for instance.
func PeekAny() (pid int, err error) {
	var info unix.Siginfo
	switch errno := peek(unix.P_ALL, 0, &info); errno {
	case 0:
		return newChild(&info).PID, nil
	case unix.ECHILD:
		return 0, nil
	default:
		return 0, errno
	}
}

// ProbePidfd returns 0 if fd is a pidfd of a child, alive or dead, ECHILD if it
// is one of another process, and EBADF if it is no pidfd. It never blocks.
// Without an answer to write the kernel needs a quarter less time.
func ProbePidfd(fd int) unix.Errno {
	return peek(unix.P_PIDFD, fd, nil)
}

// peek is a raw system call because the reaper makes it for every descriptor:
// it does not block, so the scheduler need not know.
func peek(idType, id int, info *unix.Siginfo) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_WAITID, uintptr(idType), uintptr(id), uintptr(unsafe.Pointer(info)),
		unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
	return errno
}

// AwaitExit returns when the child pid has ended, and leaves it a zombie. The
// status is that of a shell, 128+n if signal n ended the child, and 1 if somebody
// else has collected it. AwaitExit calls stopped with the signal whenever one stops
// the child. It returns at once where nobody can tell: off Linux, and where waitid
// is refused. Then ended is false.
func AwaitExit(pid int, stopped func(syscall.Signal)) (status int, ended bool) {
	for {
		if _, err := Waitid(unix.P_PID, pid, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT); err != nil {
			return 1, err == unix.ECHILD
		}
		// A dead child can never stop: for that there is ECHILD here.
		if child, err := Waitid(unix.P_PID, pid, unix.WSTOPPED|unix.WNOHANG); err == nil && child.PID != 0 {
			stopped(syscall.Signal(child.Status))
			continue
		}
		// It has ended, or was continued meanwhile.
		switch child, err := Waitid(unix.P_PID, pid, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG); {
		case err != nil:
			return 1, err == unix.ECHILD
		case child.PID == 0:
		case child.Exited():
			return child.Status, true
		default:
			return 128 + child.Status, true
		}
	}
}
