package drain

import (
	"context"
	"time"
)

// Cutoff fires when a drain must cut off what is left, so that it still returns
// before ctx ends: 250 ms before ctx's deadline, or a tenth of the time left if
// that is less. Without a deadline it never fires.
func Cutoff(ctx context.Context) *time.Timer {
	deadline, ok := ctx.Deadline()
	if !ok {
		t := time.NewTimer(time.Hour)
		t.Stop()
		return t
	}
	left := time.Until(deadline)
	return time.NewTimer(left - min(250*time.Millisecond, left/10))
}

// CutReason is why a drain was cut off: ctx's error or, when Cutoff fired ahead
// of the deadline, context.DeadlineExceeded.
func CutReason(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return context.DeadlineExceeded
}

// acceptLimit is how long a server may take to accept what is in its listener's
// queue.
func acceptLimit(ctx context.Context) time.Duration {
	limit := 10 * drainWindow
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/4)
	}
	return limit
}

// answerTime is how much of the time left goes to handlers whose contexts were
// cancelled.
func answerTime(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return drainWindow
	}
	return time.Until(deadline) * 8 / 10
}
