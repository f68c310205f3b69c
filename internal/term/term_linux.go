// SPDX-License-Identifier: MIT

package term

import (
	"os"
	"syscall"
	"unsafe"
)

// isTerminal asks for the terminal attributes, as isatty(3) does: only a
// terminal has them.
func isTerminal(f *os.File) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	var errno syscall.Errno
	err = conn.Control(func(fd uintptr) {
		var attr syscall.Termios
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TCGETS, uintptr(unsafe.Pointer(&attr)))
	})
	return err == nil && errno == 0
}
