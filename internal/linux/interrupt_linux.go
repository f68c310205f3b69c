package linux

import (
	"os"

	"golang.org/x/sys/unix"
)

// Interrupt makes a system call in which a thread of this process is blocked
// return EINTR. A signal alone would not: Go's runtime has its handlers restart
// system calls (SA_RESTART). So SIGURG gets its handler without that flag until
// restore is called, which should be soon. Go's scheduler sends SIGURG to its
// threads anyway, so one more means nothing to anybody, and a system call that
// another thread is in returns EINTR only if a SIGURG comes meanwhile.
//
// It does nothing if SIGURG has no handler, which is after [os/signal.Ignore] of
// all signals.
func Interrupt(tid int) (restore func()) {
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
	_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG) // the thread may have ended
	return func() { SetSigaction(unix.SIGURG, &old, nil) }
}
