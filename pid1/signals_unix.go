//go:build unix

package pid1

import (
	"os"
	"syscall"
)

// signalNames are the names that signal(7) gives, without the real-time ones,
// which have none.
var signalNames = [...]string{
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

// unfit says why a signal cannot be a stop signal.
//
// It is also why nothing here calls signal.Notify with an empty list, which
// means all of them: SIGURG, with which Go's scheduler preempts goroutines,
// then arrives dozens of times a second (runc#3364, containerd#4935).
var unfit = map[os.Signal]string{
	syscall.SIGKILL: "which no process can handle",
	syscall.SIGSTOP: "which no process can handle",
	syscall.SIGPROF: "which Go keeps for its profiler",
	syscall.SIGURG:  "with which Go preempts goroutines",
	syscall.SIGCHLD: "which every ended child raises",
	syscall.SIGPIPE: "which every write to a closed pipe raises",
}

// signalName is sig's name in signal(7), such as SIGTERM.
func signalName(sig os.Signal) string {
	if n, ok := sig.(syscall.Signal); ok && n >= 0 && int(n) < len(signalNames) && signalNames[n] != "" {
		return signalNames[n]
	}
	return sig.String()
}

// catchable returns the signals that are worth passing on to a [Child].
func catchable() (sigs []os.Signal) {
	for sig := syscall.Signal(1); sig <= lastSignal; sig++ {
		if unfit[sig] == "" && !cLibrary(sig) && !leftIgnored(sig) {
			sigs = append(sigs, sig)
		}
	}
	return sigs
}
