// SPDX-License-Identifier: MIT

package linux

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// IsSubreaper reports whether this process adopts orphaned descendants
// (PR_GET_CHILD_SUBREAPER, Linux 3.4).
func IsSubreaper() (bool, error) {
	var on int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&on)), 0, 0, 0)
	return err == nil && on != 0, err
}

// SetSubreaper makes this process adopt orphaned descendants, or no longer.
func SetSubreaper(on bool) error {
	var arg uintptr
	if on {
		arg = 1
	}
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, arg, 0, 0, 0)
}
