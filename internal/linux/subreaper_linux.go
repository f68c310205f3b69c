// SPDX-License-Identifier: MIT

package linux

import (
	"sync"
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

// adopting counts who needs this process to be a subreaper: they come and go in any
// order, and only the last one may put back what was before the first.
var adopting struct {
	sync.Mutex
	n   int
	was bool
}

// Adopt makes this process a subreaper until release is called. It may be called while
// others need the same.
func Adopt() (release func(), err error) {
	adopting.Lock()
	defer adopting.Unlock()
	if adopting.n == 0 {
		adopting.was, _ = IsSubreaper()
		if err := SetSubreaper(true); err != nil {
			return func() {}, err
		}
	}
	adopting.n++
	return sync.OnceFunc(func() {
		adopting.Lock()
		defer adopting.Unlock()
		if adopting.n--; adopting.n == 0 {
			_ = SetSubreaper(adopting.was)
		}
	}), nil
}
