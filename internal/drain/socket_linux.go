// SPDX-License-Identifier: MIT

package drain

import (
	"net"
	"os"
	"syscall"
	"unsafe"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

// maxAccepted bounds what is accepted when clients connect faster than that. The
// longest queue that Linux allows by default has 4096 (net.core.somaxconn).
const maxAccepted = 8192

// duplicate returns a second descriptor of l's socket. It refuses types that
// embed a socket's: their own Accept may do more, as TLS and PROXY protocol do.
func duplicate(l net.Listener) (fd int, ok bool) {
	switch l.(type) {
	case *net.TCPListener, *net.UnixListener:
	default:
		return 0, false
	}
	raw, err := l.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, false
	}
	var second uintptr
	var errno syscall.Errno
	err = raw.Control(func(first uintptr) {
		second, _, errno = syscall.Syscall(syscall.SYS_FCNTL, first, syscall.F_DUPFD_CLOEXEC, 0)
	})
	return int(second), err == nil && errno == 0
}

// acceptAll accepts the queue of the listening socket fd, closes fd, and returns
// the connections.
func acceptAll(fd int) (conns []net.Conn) {
	accepted := accept(fd)
	syscall.Close(fd)
	for _, fd := range accepted {
		f := os.NewFile(uintptr(fd), "")
		if conn, err := net.FileConn(f); err == nil {
			conns = append(conns, conn)
		}
		f.Close() // FileConn has its own
	}
	return conns
}

// accept accepts until the queue is empty. It has no time limit: time passes
// also while nothing runs.
func accept(fd int) (accepted []int) {
	for len(accepted) < maxAccepted {
		conn, _, err := syscall.Accept4(fd, syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK)
		switch err {
		case nil:
			accepted = append(accepted, conn)
		case syscall.EINTR, syscall.ECONNABORTED: // try again, see accept(2)
		default:
			return accepted
		}
	}
	return accepted
}

// queued reports whether connections wait to be accepted from the listening socket
// fd.
func queued(fd int) bool {
	events, _ := linux.Poll(fd)
	return events == linux.PollIn
}

func closeDescriptor(fd int) { syscall.Close(fd) }

// bare reports whether unread tells all about conn.
func bare(conn net.Conn) bool {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// unread reports whether the kernel has bytes for conn that were not read yet.
func unread(conn net.Conn) bool {
	n := 0
	control(conn, func(fd int) {
		var b [1]byte
		n, _, _ = syscall.Recvfrom(fd, b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return n > 0
}

// unsent reports whether the kernel has bytes of conn that the peer has not
// received yet (SIOCOUTQ in tcp(7), which is TIOCOUTQ). It is not known when no
// socket is found in conn, or that is closed or of a kind that does not tell.
func unsent(conn net.Conn) (yes, known bool) {
	var n int32
	var errno syscall.Errno
	known = control(conn, func(fd int) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n)))
	})
	return n > 0, known && errno == 0
}

// control calls f with the descriptor of conn, if conn is a socket or has one
// inside.
func control(conn net.Conn, f func(fd int)) (done bool) {
	for range maxWrappers {
		if conn == nil {
			break
		}
		if socket, ok := conn.(syscall.Conn); ok {
			raw, err := socket.SyscallConn()
			return err == nil && raw.Control(func(fd uintptr) { f(int(fd)) }) == nil
		}
		conn = unwrap(conn)
	}
	return false
}
