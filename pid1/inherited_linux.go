//go:build entrypoint_signals && (amd64 || arm64)

package pid1

import (
	"syscall"
	_ "unsafe" // for go:linkname
)

// Before any Go code runs, the runtime replaces the action of most signals and
// unblocks some. What there was it keeps in variables that the linker shows only
// to those who ask for it:
//
//	go build -tags entrypoint_signals -ldflags=-checklinkname=0
//
// With that a process started by [Command] or [Exec] has all signals as this
// process was started with, not just those that the runtime leaves alone.
// What was ignored then is so here, too. With SIGSEGV that has a price: a nil
// pointer ends the process without a panic.
var (
	//go:linkname fwdSig runtime.fwdSig
	fwdSig [65]uintptr // the actions

	//go:linkname handlingSig runtime.handlingSig
	handlingSig [65]uint32 // 1 where there is the runtime's own action now

	//go:linkname initSigmask runtime.initSigmask
	initSigmask [2]uint32
)

func init() {
	mask := sigset(initSigmask[0]) | sigset(initSigmask[1])<<32
	maskAtStart = &mask

	ignore := sigaction{}
	*ignore.handler() = sigIgn
	for sig := syscall.Signal(1); sig <= lastSignal; sig++ {
		if fwdSig[sig] != sigIgn {
			continue
		}
		ignoredAtStart |= 1 << (sig - 1)

		// These two the process needs. A child does without: to ignore them is
		// their default action, too.
		if sig == syscall.SIGCHLD || sig == syscall.SIGURG {
			continue
		}
		// The runtime gives a child the default action for what it handles.
		handlingSig[sig] = 0
		rtSigaction(sig, &ignore, nil)
	}
}
