// SPDX-License-Identifier: MIT

package drain

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
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
	errno := syscall.EBADF
	withDescriptor(l, func(first int) {
		var second uintptr
		second, _, errno = syscall.Syscall(syscall.SYS_FCNTL, uintptr(first), syscall.F_DUPFD_CLOEXEC, 0)
		fd = int(second)
	})
	return fd, errno == 0
}

// withDescriptor calls f with the descriptor of a listener or connection, if that is a
// socket, and open.
func withDescriptor(of any, f func(fd int)) (done bool) {
	socket, ok := of.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	return err == nil && raw.Control(func(fd uintptr) { f(int(fd)) }) == nil
}

// queued reports whether connections wait to be accepted from l. It is not known
// when l is no socket, or closed.
func queued(l net.Listener) (yes, known bool) {
	known = withDescriptor(l, func(fd int) {
		events, _ := linux.Poll(fd)
		yes = events == linux.PollIn
	})
	return yes, known
}

// A backlog is the accept queue of a listening socket. Closing it resets what was
// not accepted.
type backlog struct {
	fd   int
	next *os.File // accepted, but there was no descriptor to make a net.Conn of it
}

// accept accepts until the queue is empty, and closes it then. If there is no
// descriptor for more, full is true: to be called again. It has no time limit: time
// passes also while nothing runs.
func (b *backlog) accept() (conns []net.Conn, full bool) {
	for len(conns) < maxAccepted {
		if b.next == nil {
			fd, _, err := syscall.Accept4(b.fd, syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK)
			switch {
			case err == syscall.EINTR, err == syscall.ECONNABORTED: // try again, see accept(2)
				continue
			case tableFull(err):
				return conns, true
			case err != nil:
				b.close()
				return conns, false
			}
			b.next = os.NewFile(uintptr(fd), "")
		}
		conn, err := net.FileConn(b.next) // which has a descriptor of its own
		if tableFull(err) {
			return conns, true
		}
		switch {
		case err != nil:
		case conn.RemoteAddr() == nil: // reset by its client, and hooks may expect an address
			conn.Close()
		default:
			conns = append(conns, conn)
		}
		b.next.Close()
		b.next = nil
	}
	b.close()
	return conns, false
}

func (b *backlog) close() {
	syscall.Close(b.fd)
	b.next.Close() // may be nil
}

func tableFull(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

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

// taken is how many bytes this process has read from conn, and how long ago the last
// ones came. It is 0 when no TCP socket is found in conn.
func taken(conn net.Conn) (n int64, ago time.Duration) {
	control(conn, func(fd int) { n, ago = linux.BytesRead(fd) })
	return n, ago
}

// control calls f with the descriptor of conn, if conn is a socket or has one
// inside.
func control(conn net.Conn, f func(fd int)) (done bool) {
	for range maxWrappers {
		if conn == nil {
			break
		}
		if _, ok := conn.(syscall.Conn); ok {
			return withDescriptor(conn, f)
		}
		conn = unwrap(conn)
	}
	return false
}
