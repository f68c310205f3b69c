// SPDX-License-Identifier: MIT

package linux

import (
	"os"
	"sync"

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
// all signals. Several may want it at the same time.
func Interruptible() (restore func()) {
	const restart = 0x10000000 // SA_RESTART
	i := &interruptible
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.wanted == 0 {
		if SetSigaction(unix.SIGURG, nil, &i.usual) != 0 || *i.usual.Handler() <= SigIgn {
			return func() {}
		}
		action := i.usual
		*action.flags() &^= restart
		if SetSigaction(unix.SIGURG, &action, nil) != 0 {
			return func() {}
		}
	}
	i.wanted++
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.wanted--; i.wanted == 0 {
			SetSigaction(unix.SIGURG, &i.usual, nil)
		}
	}
}

var interruptible struct {
	mu     sync.Mutex
	wanted int
	usual  Sigaction // of SIGURG, while wanted
}
