package reaper

import (
	"context"
	"time"
)

// RunPatiently is Run with another time in place of the 30 seconds.
func (r *Reaper) RunPatiently(ctx context.Context, patience time.Duration) error {
	return r.runPatiently(ctx, patience)
}

// TerminatePatiently is Terminate with a time for the end after SIGKILL that is
// enough on any machine.
func TerminatePatiently(ctx context.Context) error {
	return terminatePatiently(ctx, 20*time.Second)
}

// Asleep reports whether a Reaper's thread waits in the kernel.
func Asleep() bool {
	process.Lock()
	defer process.Unlock()
	return process.sweeper != nil && process.sweeper.waiting.Load()
}
