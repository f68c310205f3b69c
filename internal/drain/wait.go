// SPDX-License-Identifier: MIT

package drain

import (
	"context"
	"sync"
	"time"
)

// Cutoff returns a copy of ctx that ends when a drain must cut off what is left, so
// that it still returns before ctx ends: 250 ms before ctx's deadline, or a tenth of
// the time left if that is less.
func Cutoff(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(250*time.Millisecond, time.Until(deadline)/10)))
}

// share is one of n equal parts of the time that is left, and limit at most.
func share(ctx context.Context, limit time.Duration, n int) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(limit, time.Until(deadline)/time.Duration(n))
	}
	return limit
}

// withAcceptTime returns a copy of ctx that ends when a server has had enough time
// to accept what is in its listener's queue, but no more than a quarter of the time
// that is left. net/http waits for up to a second to accept again when it had no
// descriptor, and one has to become free first: 1.5 s, which we count in ticks.
func withAcceptTime(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, end := context.WithTimeout(ctx, share(ctx, time.Hour, 4))
	go func() {
		waitTicks(ctx, 15*drainWindow, nil)
		end()
	}()
	return ctx, end
}

// within calls f, and leaves it behind if it takes longer than limit, or ctx ends.
func within(ctx context.Context, limit time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return waitTicks(ctx, limit, done)
}

// waitTicks waits until done is closed, for limit at most, or until ctx ends. It
// counts ticks, not time: on a starved machine much time passes in which nothing
// ran.
func waitTicks(ctx context.Context, limit time.Duration, done <-chan struct{}) bool {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for range int(limit / tick) {
		select {
		case <-done:
			return true
		case <-ctx.Done():
			return false
		case <-ticks.C:
		}
	}
	return false
}

// notify wakes wait. conns change before stopping is read here, and wait reads
// them after stopping was set: it misses no change.
func (h *server) notify() {
	if h.stopping.Load() {
		h.changes.send()
	}
}

// wait returns true once done does, false when ctx ends first.
func (h *server) wait(ctx context.Context, done func() bool) bool {
	for {
		changed := h.changes.next()
		if done() {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return done()
		}
	}
}

// A broadcast wakes all who wait for the next event.
type broadcast struct {
	mu   sync.Mutex
	wake chan struct{} // nil while nobody waits
}

// next returns a channel that is closed by the next send.
func (b *broadcast) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wake == nil {
		b.wake = make(chan struct{})
	}
	return b.wake
}

func (b *broadcast) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wake != nil {
		close(b.wake)
		b.wake = nil
	}
}
