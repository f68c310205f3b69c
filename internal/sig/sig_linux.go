// SPDX-License-Identifier: MIT

package sig

import "syscall"

const last = 64 // SIGRTMAX; MIPS has some more

// osName knows the names that Linux adds. Number 16 is another signal on MIPS,
// which names has.
func osName(s syscall.Signal) string {
	switch s {
	case 16:
		return "SIGSTKFLT"
	case syscall.SIGPWR:
		return "SIGPWR"
	}
	return ""
}

// isCLibrary reports whether s is a signal that Go leaves to the C library, so
// that Notify never delivers it (runtime/sigtab_linux_generic.go, _SigSetStack).
func isCLibrary(s syscall.Signal) bool { return s >= 32 && s <= 34 }
