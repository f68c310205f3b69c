// SPDX-License-Identifier: MIT

package linux

import (
	"syscall"
	"unsafe"
)

// PollIn is in the events of a listener from which a connection can be accepted, and
// of a pidfd whose process has ended.
const PollIn = 1

// Poll returns the events of fd that have happened: PollIn, and those for which
// ppoll(2) need not be asked. It never blocks, and may return EINTR all the same.
func Poll(fd int) (events int16, errno syscall.Errno) {
	p := struct {
		fd              int32
		events, revents int16
	}{fd: int32(fd), events: PollIn}
	var now syscall.Timespec
	_, _, errno = syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return p.revents, errno
}
