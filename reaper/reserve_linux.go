// SPDX-License-Identifier: MIT

package reaper

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

// A reserve is a descriptor that is closed when one is needed and none is left.
// The zero value has none.
type reserve struct {
	fd   int
	held bool
}

// take opens the descriptor, unless it is open.
func (r *reserve) take() {
	if r.held {
		return
	}
	if fd, err := syscall.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
		r.fd, r.held = fd, true
	}
}

// give closes the descriptor, and reports whether it was open.
func (r *reserve) give() bool {
	if !r.held {
		return false
	}
	syscall.Close(r.fd)
	r.held = false
	return true
}

// giveReserve closes the descriptor that is reserved for Terminate, and reports
// whether there was one.
func (s *sweeper) giveReserve() bool { return s != nil && s.forTerminate.give() }

// openPidfd is pidfd_open. With no descriptor left, the first of a batch gets the
// reserved one.
func (s *sweeper) openPidfd(pid int, first bool) (fd int, err error) {
	fd, err = unix.PidfdOpen(pid, 0)
	if linux.NoDescriptor(err) {
		s.warnFull(err)
		if first && s.forPidfd.give() {
			fd, err = unix.PidfdOpen(pid, 0)
		}
	}
	return fd, err
}

// restoreReserve takes back what openPidfd has given. If another goroutine was
// quicker to use it, it is taken later, but not when Terminate needs what is free.
func (s *sweeper) restoreReserve(was bool) {
	if was || s.forTerminate.held {
		s.forPidfd.take()
	}
}
