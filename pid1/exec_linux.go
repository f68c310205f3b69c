package pid1

import (
	"runtime"
	"strings"
	"syscall"
	"unsafe"
)

// replace is execve with the signals as they were at the start of this process.
func replace(path string, argv, env []string) error {
	defer restoreIgnored()()
	defer restoreMask()()
	defer stopProfileTimer()()
	return syscall.Exec(path, argv, env)
}

// ignoredAtStart are the signals that were ignored before this process asked for
// any, of those that Go's runtime leaves so at its start: for all others it has
// replaced the action by now (runtime.sigInstallGoHandler, and _SigDefault in
// runtime/sigtab_linux_generic.go). It is read during initialisation because
// there is no later chance: the first Notify of a signal replaces its action,
// and os/signal puts no ignored one back. inherited_linux.go adds the others.
var ignoredAtStart = ignoredNow(syscall.SIGHUP, syscall.SIGINT, syscall.SIGCONT,
	syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU)

// maskAtStart are the signals that were blocked when this process started: nil
// if that is not known. Then those of the thread are what is left of them.
var maskAtStart *sigset // set in inherited_linux.go

const sigIgn = 1 // SIG_IGN

// A sigaction has room for the kernel's struct on every architecture. Only the
// handler matters here; zero is right for flags, restorer and mask.
type sigaction [16]uintptr

func (a *sigaction) handler() *uintptr {
	if strings.HasPrefix(runtime.GOARCH, "mips") {
		return &a[1] // flags come first
	}
	return &a[0]
}

// rtSigaction calls the kernel behind the runtime's back, so that a failed Exec
// can put everything back as it was, Notify included.
func rtSigaction(sig syscall.Signal, set, old *sigaction) syscall.Errno {
	size := uintptr(8) // of the kernel's sigset_t
	if strings.HasPrefix(runtime.GOARCH, "mips") {
		size = 16
	}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), size, 0, 0)
	return errno
}

func ignoredNow(signals ...syscall.Signal) (set sigset) {
	for _, sig := range signals {
		var a sigaction
		if rtSigaction(sig, nil, &a) == 0 && *a.handler() == sigIgn {
			set |= 1 << (sig - 1)
		}
	}
	return set
}

// restoreIgnored makes exactly the signals in ignoredAtStart ignored. It does
// not touch those that are caught: execve itself gives them their default.
func restoreIgnored() (undo func()) {
	saved := map[syscall.Signal]sigaction{}
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if cLibrary(sig) || ignoredNow(sig).has(sig) == ignoredAtStart.has(sig) {
			continue
		}
		var a, old sigaction
		if ignoredAtStart.has(sig) {
			*a.handler() = sigIgn // otherwise SIG_DFL, which is 0
		}
		if rtSigaction(sig, &a, &old) == 0 {
			saved[sig] = old
		}
	}
	return func() {
		for sig, old := range saved {
			rtSigaction(sig, &old, nil)
		}
	}
}

// restoreMask blocks exactly the signals in maskAtStart, for what this thread
// starts until undo is called.
func restoreMask() (undo func()) {
	if maskAtStart == nil {
		return func() {}
	}
	runtime.LockOSThread()
	var old uint64
	mask := uint64(*maskAtStart)
	sigprocmask(sigSetmask, &mask, &old)
	return func() {
		sigprocmask(sigSetmask, &old, nil)
		runtime.UnlockOSThread()
	}
}

// stopProfileTimer stops the timer of a running CPU profile. It outlives execve
// (setitimer(2)), unlike the handler of its SIGPROF, whose default action ends
// the process: "Profiling timer expired".
func stopProfileTimer() (undo func()) {
	const itimerProf = 2 // ITIMER_PROF
	var off, old [2]syscall.Timeval
	setitimer := func(set, old *[2]syscall.Timeval) {
		syscall.RawSyscall(syscall.SYS_SETITIMER, itimerProf, uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)))
	}
	setitimer(&off, &old)
	return func() { setitimer(&old, nil) }
}

func mountedNoexec(path string) bool {
	const stNoexec = 0x8 // ST_NOEXEC of statfs(2)
	var fs syscall.Statfs_t
	return syscall.Statfs(path, &fs) == nil && fs.Flags&stNoexec != 0
}
