package pid1

import (
	"syscall"
	"unsafe"
)

// becomeSubreaper makes this process adopt orphaned descendants until undo is
// called. An error, of a kernel before 3.4, is the Reaper's to tell.
func becomeSubreaper() (undo func()) {
	const setChildSubreaper, getChildSubreaper = 36, 37
	var was int32
	syscall.RawSyscall(syscall.SYS_PRCTL, getChildSubreaper, uintptr(unsafe.Pointer(&was)), 0)
	syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0)
	return func() { syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, uintptr(was), 0) }
}
