// SPDX-License-Identifier: MIT

package linux

import (
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Sigaction is the kernel's struct of that name, with room for that of every
// architecture. Zero is the default action.
type Sigaction [16]uintptr

// SigIgn is the Handler of a signal that is ignored. That of the default action
// (SIG_DFL) is 0, and all others are functions.
const SigIgn = 1

var mips = strings.HasPrefix(runtime.GOARCH, "mips")

// Handler comes first, but on MIPS.
func (a *Sigaction) Handler() *uintptr {
	if mips {
		return &a[1]
	}
	return &a[0]
}

// flags are an unsigned long behind the handler, and on MIPS an unsigned int in
// front of it.
func (a *Sigaction) flags() *uint32 {
	switch word := unsafe.Pointer(&a[1]); {
	case mips:
		return (*uint32)(unsafe.Pointer(a))
	case bigEndian && unsafe.Sizeof(a[0]) == 8:
		return (*uint32)(unsafe.Add(word, 4))
	default:
		return (*uint32)(word)
	}
}

var bigEndian = func() bool {
	number := uint16(1)
	return *(*byte)(unsafe.Pointer(&number)) == 0
}()

// SetSigaction is rt_sigaction(2), and returns 0 if it succeeds. set and old may be
// nil. Go's runtime does not learn of it, so that everything can be put back as it
// was.
func SetSigaction(s syscall.Signal, set, old *Sigaction) unix.Errno {
	size := uintptr(8) // of the kernel's sigset_t
	if mips {
		size = 16
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), size, 0, 0)
	return errno
}
