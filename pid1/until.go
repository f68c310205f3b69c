package pid1

import (
	"context"
	"time"
)

// UntilStopping returns a copy of ctx that also ends when a stop has begun and
// after has passed since then, for a last message to be sent. It is for what a
// client never ends: a watch, a subscription, server-sent events. Cancel it when
// the work is done.
func (a *App) UntilStopping(ctx context.Context, after time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-a.Stopping():
		case <-ctx.Done():
			return
		}
		over := time.NewTimer(after)
		defer over.Stop()
		select {
		case <-over.C:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
