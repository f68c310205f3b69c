package drain

import (
	"context"
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
// to accept what is in its listener's queue: 1 s, which we count in ticks, but no
// more than a quarter of the time that is left.
func withAcceptTime(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, end := context.WithTimeout(ctx, share(ctx, time.Hour, 4))
	go func() {
		waitTicks(ctx, 10*drainWindow, nil)
		end()
	}()
	return ctx, end
}
