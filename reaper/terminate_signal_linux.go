// SPDX-License-Identifier: MIT

package reaper

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

// list returns the processes that Terminate is for and that are not dead. A
// process that gets a new parent while /proc is read may be missing.
func (t *terminator) list() (left []linux.Process, err error) {
	if t.noProc != nil {
		return nil, t.noProc
	}
	all, err := linux.ListProcesses()
	if err != nil {
		return nil, err
	}
	parent := make(map[int]int, len(all))
	for _, p := range all {
		parent[p.PID] = p.Parent
	}
	for _, p := range all {
		if !p.Dead() && mayEnd(p, parent) {
			left = append(left, p)
		}
	}
	return left, nil
}

// mayEnd reports whether p is one that Terminate may end.
func mayEnd(p linux.Process, parent map[int]int) bool {
	const kernelThread = 0x00200000 // PF_KTHREAD; a PID 1 of a machine sees them
	self := os.Getpid()
	if self == 1 {
		return p.PID != 1 && p.Flags&kernelThread == 0
	}
	pid := p.PID
	for range parent { // bounded: numbers may be reused while /proc is read
		if pid = parent[pid]; pid == self {
			return true
		}
	}
	return false
}

// send signals p and nobody else: the pidfd pins a process before the
// comparison shows that it is p. If p has ended, nothing has to be sent.
func (t *terminator) send(p linux.Process) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		fd = -1
	}
	now, err := linux.ReadProcess(p.PID)
	if linux.NoDescriptor(err) && fd >= 0 { // it was the last one
		syscall.Close(fd)
		fd = -1
		now, err = linux.ReadProcess(p.PID)
	}
	if fd >= 0 {
		defer syscall.Close(fd)
	}
	if linux.NoDescriptor(err) {
		return err
	}
	if err != nil || identify(now) != identify(p) {
		return nil
	}
	if err := t.sendTo(fd, p.PID, t.signal); err != nil && err != unix.ESRCH {
		return err
	}
	if t.signal == unix.SIGTERM {
		// Interactive shells ignore SIGTERM, and end when their terminal goes.
		if p.Terminal && linux.Ignores(p.PID, unix.SIGTERM) {
			t.sendTo(fd, p.PID, unix.SIGHUP)
		}
		t.sendTo(fd, p.PID, unix.SIGCONT) // a stopped process keeps the SIGTERM for later
	}
	return nil
}

// sendTo sends a signal by pidfd, or by PID where there is none. A seccomp profile
// may refuse either call. Not after ESRCH: then the number may be somebody else's
// by now.
func (t *terminator) sendTo(fd, pid int, s syscall.Signal) error {
	if fd >= 0 {
		err := unix.PidfdSendSignal(fd, s, nil, 0)
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOSYS) {
			return err
		}
	}
	return syscall.Kill(pid, s)
}

// signalChildren signals the children that /proc may not show, and reports whether
// there are any that are alive and may be signalled, as far as that is known.
func (t *terminator) signalChildren(r *roundResult) (any, known bool) {
	living, denied, known := livingChildren()
	for _, pid := range denied {
		// The number is all that is known of it: nobody else starts at 0.
		if id := (identity{pid: pid}); !t.denied[id] {
			t.denied[id] = true
			r.denied = append(r.denied, linux.Process{PID: pid})
		}
	}
	for _, pid := range living {
		if !t.sentChild[pid] {
			t.sentChild[pid] = t.signalChild(pid)
		}
	}
	return len(living) > 0, known
}

func (t *terminator) signalChild(pid int) (sent bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case err == unix.ESRCH:
		return false
	case err != nil:
		fd = -1
	default:
		defer syscall.Close(fd)
		if !isChild(fd) {
			return false // it was, and has been waited for
		}
	}
	sent = t.sendTo(fd, pid, t.signal) == nil
	if t.signal == unix.SIGTERM {
		t.sendTo(fd, pid, unix.SIGCONT)
	}
	return sent
}

// livingChildren returns the children of this process that are alive and may be
// signalled, and those that may not be and that /proc does not show. known is false
// if no descriptor was free to list them all.
func livingChildren() (living, denied []int, known bool) {
	all, known := childrenOfOthers()
	leader, err := openChildren(os.Getpid())
	switch {
	case err == nil:
		all = append(all, leader.list(0)...)
		leader.close()
	case linux.NoDescriptor(err):
		known = false
	default:
		all = childrenByParent()
	}
	for _, pid := range all {
		if linux.Peek(unix.P_PID, pid) == pid {
			continue
		}
		p, err := linux.ReadProcess(pid)
		if err == nil && p.Dead() {
			continue // waitid is refused, or it is a child of clone without SIGCHLD
		}
		switch syscall.Kill(pid, 0) {
		case nil:
			living = append(living, pid)
		case unix.EPERM:
			if err != nil && !linux.NoDescriptor(err) { // else list has it
				denied = append(denied, pid)
			}
		}
	}
	return living, denied, known
}

// kill sends SIGKILL from now on.
func (t *terminator) kill() {
	t.signal = unix.SIGKILL
	t.pause, t.empty, t.sentAll = minPause, 0, false
	t.sent, t.sentChild = map[identity]bool{}, map[int]bool{}
	if os.Getpid() == 1 {
		// To all at once: nobody can fork between two signals. Only PID 1 may
		// use -1, elsewhere it means every process of the user.
		syscall.Kill(-1, unix.SIGKILL)
	}
}

// killChildren sends SIGKILL to the children of the leader thread, and returns
// how many of them were alive.
func killChildren() (alive int) {
	leader, err := openChildren(os.Getpid())
	if err != nil {
		return 0
	}
	defer leader.close()
	for _, pid := range leader.list(0) {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if isChild(fd) && linux.Peek(unix.P_PIDFD, fd) == 0 && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
			alive++
		}
		syscall.Close(fd)
	}
	return alive
}

// watch makes ended report the end of p, if that brings no SIGCHLD.
func (t *terminator) watch(p linux.Process) {
	if p.Parent != 0 || t.watched[identify(p)] != nil {
		return
	}
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if err == unix.ESRCH {
		return
	}
	if err != nil {
		t.poll = true
		return
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if t.watched == nil {
		t.watched = map[identity]*os.File{}
	}
	t.watched[identify(p)] = f
	conn, err := f.SyscallConn()
	if err != nil {
		t.poll = true
		return
	}
	go func() {
		conn.Read(func(fd uintptr) bool {
			events, errno := linux.Poll(int(fd))
			return events != 0 || errno != 0 && errno != unix.EINTR
		})
		select {
		case t.ended <- struct{}{}:
		default:
		}
	}()
}
