// SPDX-License-Identifier: MIT

package termtest

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"unsafe"
)

// open is posix_openpt(3), unlockpt(3) and ptsname(3).
func open(t testing.TB) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	var unlocked, number int32
	err = ioctl(screen, syscall.TIOCSPTLCK, &unlocked)
	if err == nil {
		err = ioctl(screen, syscall.TIOCGPTN, &number)
	}
	if err == nil {
		terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		screen.Close()
		t.Skipf("no pseudo-terminal: %v", err)
	}
	return screen, terminal
}

func ioctl(f *os.File, request uintptr, arg *int32) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(arg)))
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return err
}
