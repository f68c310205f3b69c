// SPDX-License-Identifier: MIT

package reaper

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// RunWith is Run with another time in place of 30 seconds and five minutes, and
// with three times that in place of the ten seconds until it looks without a SIGCHLD.
func (r *Reaper) RunWith(ctx context.Context, patience time.Duration) error {
	return r.runWith(ctx, timing{patience: patience, othersPatience: patience, check: 3 * patience})
}

// TerminateSlowly is Terminate with a time for the end after SIGKILL that is
// enough on any machine.
func TerminateSlowly(ctx context.Context) error {
	return terminateWith(ctx, 90*time.Second)
}

// TerminateAtOnce is Terminate without time, before SIGKILL or after it.
func TerminateAtOnce() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return terminateWith(ctx, 0)
}

// Work is how a Reaper did what Stats counts.
type Work struct {
	Sweeps int           // over the children
	Passes int           // over the descriptors
	Spared int           // dead children that have an owner, and were left to it
	Busy   time.Duration // processor time of the sweeps
}

// Work is zero while the Reaper does not run.
func (r *Reaper) Work() Work {
	process.Lock()
	defer process.Unlock()
	if process.sweeper == nil || process.sweeper.r != r {
		return Work{}
	}
	w := process.sweeper.work
	return Work{w.sweeps, w.passes, w.spared, w.busy}
}

// Asleep reports whether a Reaper's thread waits in the kernel.
func Asleep() bool {
	process.Lock()
	defer process.Unlock()
	return process.sweeper != nil && process.sweeper.waiting.Load() != 0
}

// OpenMany opens n sockets for the time of a benchmark. It is skipped where the
// limit of descriptors is lower.
func OpenMany(b *testing.B, n int) {
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Skip(err)
		}
		b.Cleanup(func() { unix.Close(fd) })
	}
}
