package linux

import (
	"os"

	"golang.org/x/sys/unix"
)

// Interrupt makes a system call in which a thread of this process is blocked
// return EINTR: it sends SIGURG to the thread while such calls are [Interruptible].
// Go's scheduler sends SIGURG to its threads anyway, so one more means nothing to
// anybody.
func Interrupt(tid int) (restore func()) {
	restore = Interruptible()
	_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG) // the thread may have ended
	return restore
}

// Interruptible makes SIGURG, with which Go's runtime stops threads, end the system
// call of the thread with EINTR. The runtime has its handlers restart system calls
// (SA_RESTART). So SIGURG gets its handler without that flag until restore is called,
// which should be soon. A system call that another thread is in returns EINTR only
// if a SIGURG comes meanwhile.
//
// It does nothing if SIGURG has no handler, which is after [os/signal.Ignore] of
// all signals.
func Interruptible() (restore func()) {
	const restart = 0x10000000 // SA_RESTART
	var old Sigaction
	if SetSigaction(unix.SIGURG, nil, &old) != 0 || *old.Handler() <= SigIgn {
		return func() {}
	}
	action := old
	*action.flags() &^= restart
	if SetSigaction(unix.SIGURG, &action, nil) != 0 {
		return func() {}
	}
	return func() { SetSigaction(unix.SIGURG, &old, nil) }
}
