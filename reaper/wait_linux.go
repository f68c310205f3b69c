// SPDX-License-Identifier: MIT

package reaper

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

// isPidfd reports whether fd is a pidfd, of any process.
func isPidfd(fd int) bool {
	errno := linux.ProbePidfd(fd)
	return errno == 0 || errno == unix.ECHILD
}

// isChild reports whether the process of a pidfd is a child of this one.
func isChild(pidfd int) bool { return linux.ProbePidfd(pidfd) == 0 }

// anyAlive reports whether any child of this process is alive, or any process
// that it traces. Asked for children that have stopped, waitid returns ECHILD when
// there is none that could ever stop: zombies do not count. __WALL is for children
// of clone that send another signal than SIGCHLD when they end, or none. Where
// waitid is refused, the answer is true.
func anyAlive() bool {
	const options = unix.WSTOPPED | unix.WNOHANG | unix.WNOWAIT
	_, err := linux.Waitid(unix.P_ALL, 0, options|unix.WALL)
	if err == unix.EINVAL { // before Linux 4.7
		_, err = linux.Waitid(unix.P_ALL, 0, options)
	}
	return err != unix.ECHILD
}

// reap waits for a dead child. ok is false if there is none.
func reap(idType, id int) (e Exit, ok bool) {
	child, err := linux.Waitid(idType, id, unix.WEXITED|unix.WNOHANG)
	if err != nil && err != unix.ECHILD && idType == unix.P_PID {
		return reapOldWay(id)
	}
	if err != nil || child.PID == 0 {
		return Exit{}, false
	}
	if child.Exited() {
		return Exit{PID: child.PID, Code: child.Status}, true
	}
	return Exit{PID: child.PID, Code: -1, Signal: syscall.Signal(child.Status)}, true
}

// reapOldWay is reap where waitid is refused.
func reapOldWay(pid int) (e Exit, ok bool) {
	var status syscall.WaitStatus
	got, err := syscall.Wait4(pid, &status, unix.WNOHANG, nil)
	if err != nil || got != pid {
		return Exit{}, false
	}
	e = Exit{PID: pid, Code: status.ExitStatus()}
	if status.Signaled() {
		e.Signal = status.Signal()
	}
	return e, true
}

// processorTime is what the calling thread has used so far.
func processorTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
