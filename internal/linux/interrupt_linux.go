package linux

import (
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Interrupt makes a system call in which a thread of this process is blocked
// return EINTR. A signal alone would not: Go's runtime has its handlers restart
// system calls (SA_RESTART). So SIGURG gets its handler without that flag until
// restore is called, which should be soon. Go's scheduler sends SIGURG to its
// threads anyway, so one more means nothing to anybody, and a system call that
// another thread is in returns EINTR only if a SIGURG comes meanwhile.
//
// It does nothing if SIGURG has no handler, which is after [os/signal.Ignore] of
// all signals.
func Interrupt(tid int) (restore func()) {
	const restart = 0x10000000 // SA_RESTART
	var old sigaction
	if old.call(nil, &old) != 0 || !old.caught() {
		return func() {}
	}
	action := old
	*action.flags() &^= restart
	if action.call(&action, nil) != 0 {
		return func() {}
	}
	_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG) // the thread may have ended
	return func() { old.call(&old, nil) }
}

// A sigaction has room for the kernel's struct on every architecture.
type sigaction [16]uintptr

var mips = strings.HasPrefix(runtime.GOARCH, "mips")

// flags are an unsigned long behind the handler, and on MIPS an unsigned int in
// front of it.
func (a *sigaction) flags() *uint32 {
	switch word := unsafe.Pointer(&a[1]); {
	case mips:
		return (*uint32)(unsafe.Pointer(a))
	case bigEndian && unsafe.Sizeof(a[0]) == 8:
		return (*uint32)(unsafe.Add(word, 4))
	default:
		return (*uint32)(word)
	}
}

// caught reports whether there is a handler: neither SIG_DFL nor SIG_IGN.
func (a *sigaction) caught() bool {
	if mips {
		return a[1] > 1
	}
	return a[0] > 1
}

// call is rt_sigaction(2) for SIGURG. The runtime does not learn of it.
func (*sigaction) call(set, old *sigaction) unix.Errno {
	size := uintptr(8) // of the kernel's sigset_t
	if mips {
		size = 16
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGURG),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), size, 0, 0)
	return errno
}

var bigEndian = func() bool {
	number := uint16(1)
	return *(*byte)(unsafe.Pointer(&number)) == 0
}()
