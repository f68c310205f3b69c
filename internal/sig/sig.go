// SPDX-License-Identifier: MIT

// Package sig knows the signals of this system: their names, sets of them,
// which a program may catch, and with which this process was started.
package sig

import (
	"os"
	"syscall"
)

// Name returns the name of s as in signal(7), such as SIGTERM. Signals without
// a name, such as the real-time ones, are called "signal 40".
func Name(s os.Signal) string {
	if n, ok := s.(syscall.Signal); ok {
		if name := nameOf(n); name != "" {
			return name
		}
	}
	return s.String()
}

// A Set is a set of signals, as the kernel has it: bit n−1 is signal n.
type Set uint64

// SetOf returns the set of these signals.
func SetOf(signals ...syscall.Signal) (set Set) {
	for _, s := range signals {
		set |= 1 << (s - 1)
	}
	return set
}

// Has reports whether the set contains s.
func (set Set) Has(s syscall.Signal) bool { return set&(1<<(s-1)) != 0 }

// Signals returns the signals of the set in ascending order, without those that
// belong to the C library.
func (set Set) Signals() (signals []os.Signal) {
	for s := syscall.Signal(1); s <= 64; s++ {
		if set.Has(s) && !isCLibrary(s) {
			signals = append(signals, s)
		}
	}
	return signals
}
