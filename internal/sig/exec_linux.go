// SPDX-License-Identifier: MIT

package sig

import (
	"runtime"
	"syscall"
	"unsafe"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

// PrepareExec makes signals for the execve that follows what they were at the
// start of this process, as far as that is known: see IgnoredAtStart. The execve
// must be called by the same goroutine. undo puts everything back,
// os/signal.Notify included, for an execve that fails.
func PrepareExec() (undo func()) {
	undoIgnored := restoreIgnored()
	undoTimer := stopProfileTimer()
	undoDeath := restoreDeathSignal()
	return func() {
		undoDeath()
		undoTimer()
		undoIgnored()
	}
}

// deathSignal is the signal that this process gets when its parent dies
// (PR_SET_PDEATHSIG), or 0. It belongs to a thread: the first one, on which
// packages are initialised.
var deathSignal = getDeathSignal()

const (
	setPdeathsig = 1 // PR_SET_PDEATHSIG
	getPdeathsig = 2 // PR_GET_PDEATHSIG
)

func getDeathSignal() int32 {
	var s int32
	_, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, getPdeathsig, uintptr(unsafe.Pointer(&s)), 0)
	if errno != 0 {
		return 0
	}
	return s
}

// restoreDeathSignal gives this thread deathSignal. The thread that calls execve
// is the only one that is left after it.
func restoreDeathSignal() (undo func()) {
	runtime.LockOSThread()
	was := getDeathSignal()
	if was == 0 && deathSignal != 0 {
		syscall.RawSyscall(syscall.SYS_PRCTL, setPdeathsig, uintptr(deathSignal), 0)
	}
	return func() {
		if was == 0 && deathSignal != 0 {
			syscall.RawSyscall(syscall.SYS_PRCTL, setPdeathsig, 0, 0)
		}
		runtime.UnlockOSThread()
	}
}

// IgnoredAtStart returns the signals that were ignored when this process
// started, as far as Go's runtime leaves them ignored: SIGHUP, SIGINT, SIGCONT,
// SIGTSTP, SIGTTIN and SIGTTOU. For all others it has replaced the action before
// any Go code runs (runtime.sigInstallGoHandler, and _SigDefault in
// runtime/sigtab_linux_generic.go).
func IgnoredAtStart() Set { return ignoredAtStart }

// ignoredAtStart is read during initialisation because there is no later chance:
// the first Notify of a signal replaces its action, and os/signal does not put
// back that it was ignored.
var ignoredAtStart = ignoredNow(syscall.SIGHUP, syscall.SIGINT, syscall.SIGCONT,
	syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU)

// ignoredNow returns those of the signals that are ignored at this moment.
func ignoredNow(signals ...syscall.Signal) (set Set) {
	for _, s := range signals {
		var a linux.Sigaction
		if linux.SetSigaction(s, nil, &a) == 0 && *a.Handler() == linux.SigIgn {
			set |= SetOf(s)
		}
	}
	return set
}

// restoreIgnored makes exactly the signals in ignoredAtStart ignored. It leaves
// caught signals alone: execve itself gives them their default action.
func restoreIgnored() (undo func()) {
	saved := map[syscall.Signal]linux.Sigaction{}
	for s := syscall.Signal(1); s <= last; s++ {
		if isCLibrary(s) || ignoredNow(s).Has(s) == ignoredAtStart.Has(s) {
			continue
		}
		var a, old linux.Sigaction
		if ignoredAtStart.Has(s) {
			*a.Handler() = linux.SigIgn // otherwise SIG_DFL, which is 0
		}
		if linux.SetSigaction(s, &a, &old) == 0 {
			saved[s] = old
		}
	}
	return func() {
		for s, old := range saved {
			linux.SetSigaction(s, &old, nil)
		}
	}
}

// stopProfileTimer stops the timer of a running CPU profile. The timer outlives
// execve (setitimer(2)), unlike the handler of its SIGPROF, whose default action
// ends the process: "Profiling timer expired".
func stopProfileTimer() (undo func()) {
	const itimerProf = 2 // ITIMER_PROF
	var off, old [2]syscall.Timeval
	setitimer := func(set, old *[2]syscall.Timeval) {
		syscall.RawSyscall(syscall.SYS_SETITIMER, itimerProf, uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)))
	}
	setitimer(&off, &old)
	return func() { setitimer(&old, nil) }
}
