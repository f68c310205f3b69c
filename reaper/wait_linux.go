package reaper

import (
	"errors"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A childInfo is the part of a siginfo that waitid fills in and unix.Siginfo
// leaves blank.
type childInfo struct {
	pid    int32
	uid    uint32
	status int32
}

// child is where info has it: behind three int32, on a boundary for pointers
// (include/uapi/asm-generic/siginfo.h).
func child(info *unix.Siginfo) *childInfo {
	const offset = (3*4 + unsafe.Sizeof(uintptr(0)) - 1) &^ (unsafe.Sizeof(uintptr(0)) - 1)
	return (*childInfo)(unsafe.Add(unsafe.Pointer(info), offset))
}

// look returns the PID of a dead child that is selected by idType and id, and
// leaves it a zombie. It returns 0 when the child lives, when there is no
// such child, and when id is not a pidfd.
func look(idType, id int) (pid int) {
	// Raw, because it is called for each descriptor and never blocks: the
	// scheduler need not hear of it.
	var info unix.Siginfo
	_, _, errno := unix.RawSyscall6(unix.SYS_WAITID, uintptr(idType), uintptr(id), uintptr(unsafe.Pointer(&info)),
		unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(child(&info).pid)
}

// firstDead returns the first child that is dead, whosever it is, or 0.
func firstDead() (pid int) {
	return look(unix.P_ALL, 0)
}

// ask is look at a pidfd without the answer, which saves the kernel a quarter of
// the time. It returns 0 if fd is a pidfd of a child, alive or dead, ECHILD if
// of another process, and EBADF if fd is no pidfd.
func ask(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_WAITID, unix.P_PIDFD, uintptr(fd), 0,
		unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
	return errno
}

// isPidfd reports whether fd is a pidfd, of whatever process.
func isPidfd(fd int) bool {
	errno := ask(fd)
	return errno == 0 || errno == unix.ECHILD
}

// isChild reports whether the process of a pidfd is a child of this one.
func isChild(pidfd int) bool { return ask(pidfd) == 0 }

// anyAlive reports whether any child of this process is alive. Asked for
// children that have stopped, waitid returns ECHILD when there is none that
// ever could: zombies do not count.
func anyAlive() bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT, nil)
	return !errors.Is(err, unix.ECHILD)
}

// wait collects a dead child.
func wait(idType, id int) (e Exit, ok bool) {
	var info unix.Siginfo
	err := unix.Waitid(idType, id, &info, unix.WEXITED|unix.WNOHANG, nil)
	c := child(&info)
	if err != nil || c.pid == 0 {
		return Exit{}, false
	}
	const exited = 1 // CLD_EXITED; the others are CLD_KILLED and CLD_DUMPED
	if info.Code == exited {
		return Exit{PID: int(c.pid), Code: int(c.status)}, true
	}
	return Exit{PID: int(c.pid), Code: -1, Signal: syscall.Signal(c.status)}, true
}

// processorTime is what the calling thread has used so far.
func processorTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
