package sig

import "syscall"

const last = 64 // SIGRTMAX; MIPS has some more

// osNames are the names that Linux adds. Number 16 is another signal on MIPS,
// which names has.
var osNames = map[syscall.Signal]string{
	16:             "SIGSTKFLT",
	syscall.SIGPWR: "SIGPWR",
}

// isCLibrary reports whether s is a signal that Go leaves to the C library, so
// that Notify never delivers it (runtime/sigtab_linux_generic.go, _SigSetStack).
func isCLibrary(s syscall.Signal) bool { return s >= 32 && s <= 34 }
