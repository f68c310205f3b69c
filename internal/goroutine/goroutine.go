// Package goroutine lets a function that only waits for another goroutine say which
// one that is. If the function is given up on, the stack to show is that of the
// other goroutine.
package goroutine

import (
	"bytes"
	"context"
	"runtime"
	"sync/atomic"
)

// Current returns the number of the current goroutine, as tracebacks show it.
func Current() string {
	buf := make([]byte, 64)
	_, rest, _ := bytes.Cut(buf[:runtime.Stack(buf, false)], []byte("goroutine "))
	number, _, _ := bytes.Cut(rest, []byte(" "))
	return string(number)
}

type waitKey struct{}

// A Wait is the goroutine that a function waits for.
type Wait struct{ number atomic.Pointer[string] }

// WithWait returns a context in which WaitFor sets w.
func WithWait(ctx context.Context, w *Wait) context.Context {
	return context.WithValue(ctx, waitKey{}, w)
}

// Number is what WaitFor was last called with; "" if it was not.
func (w *Wait) Number() string {
	if number := w.number.Load(); number != nil {
		return *number
	}
	return ""
}

// WaitFor says that the function that ctx was made for waits for the goroutine
// with this number. Without WithWait it does nothing.
func WaitFor(ctx context.Context, number string) {
	if w, ok := ctx.Value(waitKey{}).(*Wait); ok {
		w.number.Store(&number)
	}
}
