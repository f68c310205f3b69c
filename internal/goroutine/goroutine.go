// SPDX-License-Identifier: MIT

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

// A Wait is the goroutines that a function waits for, and what they do.
type Wait struct{ on atomic.Pointer[on] }

type on struct {
	what    string
	numbers []string
}

// WithWait returns a context in which WaitFor sets w.
func WithWait(ctx context.Context, w *Wait) context.Context {
	return context.WithValue(ctx, waitKey{}, w)
}

// On is what WaitFor was last called with.
func (w *Wait) On() (what string, numbers []string) {
	if on := w.on.Load(); on != nil {
		return on.what, on.numbers
	}
	return "", nil
}

// WaitFor says that the function that ctx was made for waits for the goroutines with
// these numbers and for those that they have started. what says what they do, and may
// be empty. Without WithWait it does nothing.
func WaitFor(ctx context.Context, what string, numbers ...string) {
	if w, ok := ctx.Value(waitKey{}).(*Wait); ok {
		w.on.Store(&on{what, numbers})
	}
}
