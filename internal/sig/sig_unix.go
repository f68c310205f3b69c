// SPDX-License-Identifier: MIT

//go:build unix

package sig

import (
	"os"
	"syscall"
)

// names has the signals that every Unix has, by number. What else there is
// differs, also by processor: see osName.
var names = [...]string{
	syscall.SIGABRT:   "SIGABRT",
	syscall.SIGALRM:   "SIGALRM",
	syscall.SIGBUS:    "SIGBUS",
	syscall.SIGCHLD:   "SIGCHLD",
	syscall.SIGCONT:   "SIGCONT",
	syscall.SIGFPE:    "SIGFPE",
	syscall.SIGHUP:    "SIGHUP",
	syscall.SIGILL:    "SIGILL",
	syscall.SIGINT:    "SIGINT",
	syscall.SIGIO:     "SIGIO",
	syscall.SIGKILL:   "SIGKILL",
	syscall.SIGPIPE:   "SIGPIPE",
	syscall.SIGPROF:   "SIGPROF",
	syscall.SIGQUIT:   "SIGQUIT",
	syscall.SIGSEGV:   "SIGSEGV",
	syscall.SIGSTOP:   "SIGSTOP",
	syscall.SIGSYS:    "SIGSYS",
	syscall.SIGTERM:   "SIGTERM",
	syscall.SIGTRAP:   "SIGTRAP",
	syscall.SIGTSTP:   "SIGTSTP",
	syscall.SIGTTIN:   "SIGTTIN",
	syscall.SIGTTOU:   "SIGTTOU",
	syscall.SIGURG:    "SIGURG",
	syscall.SIGUSR1:   "SIGUSR1",
	syscall.SIGUSR2:   "SIGUSR2",
	syscall.SIGVTALRM: "SIGVTALRM",
	syscall.SIGWINCH:  "SIGWINCH",
	syscall.SIGXCPU:   "SIGXCPU",
	syscall.SIGXFSZ:   "SIGXFSZ",
}

func nameOf(s syscall.Signal) string {
	if s >= 0 && int(s) < len(names) && names[s] != "" {
		return names[s]
	}
	return osName(s)
}

// WhyNoStop says why a signal cannot begin a stop. It is "" for those that can.
//
// It is also why nothing here calls signal.Notify without a list, which means
// all signals: SIGURG, with which Go's scheduler preempts goroutines, then
// arrives dozens of times a second (runc#3364, containerd#4935).
func WhyNoStop(s os.Signal) string {
	switch s {
	case syscall.SIGKILL, syscall.SIGSTOP:
		return "which no process can handle"
	case syscall.SIGPROF:
		return "which Go keeps for its profiler"
	case syscall.SIGURG:
		return "with which Go preempts goroutines"
	case syscall.SIGCHLD:
		return "which every ended child raises"
	case syscall.SIGPIPE:
		return "which every write to a closed pipe raises"
	}
	if n, ok := s.(syscall.Signal); ok && isCLibrary(n) {
		return "which belongs to the C library, so that Go never delivers it"
	}
	return ""
}

// Catchable returns the signals that are worth passing on to a child: those
// that may begin a stop, without those that were ignored at the start. A child
// inherits that, but not if this process asks for the signal.
func Catchable() (signals []os.Signal) {
	for s := syscall.Signal(1); s <= last; s++ {
		if WhyNoStop(s) == "" && !IgnoredAtStart().Has(s) {
			signals = append(signals, s)
		}
	}
	return signals
}
