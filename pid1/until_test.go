// SPDX-License-Identifier: MIT

package pid1_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
)

func TestUntilStopping(t *testing.T) {
	app := pid1.App{Logger: discard}
	parent, end := context.WithCancel(t.Context())
	child, cancel := app.UntilStopping(parent, time.Hour)
	defer cancel()
	if end(); child.Err() == nil {
		t.Error("the end of the parent does not end the context")
	}
	cancelled, cancel := app.UntilStopping(t.Context(), time.Hour)
	if cancel(); cancelled.Err() == nil {
		t.Error("cancel does not end the context")
	}

	soon, cancel := app.UntilStopping(t.Context(), time.Millisecond)
	defer cancel()
	later, cancel := app.UntilStopping(t.Context(), time.Hour)
	defer cancel()
	app.Shutdown.Defer("look", func(context.Context) error {
		late, cancel := app.UntilStopping(t.Context(), 0)
		defer cancel()
		<-soon.Done()
		if late.Err() == nil {
			t.Error("the stop has begun, and a context that ends then goes on")
		}
		for _, ctx := range []context.Context{soon, late} {
			if cause := context.Cause(ctx); cause != errStop {
				t.Errorf("cause %v, want %v", cause, errStop)
			}
		}
		if later.Err() != nil {
			t.Error("an hour has passed in no time")
		}
		return nil
	})
	ctx, stop := context.WithCancelCause(t.Context())
	worker := pid1.Func(func(ctx context.Context) error {
		if soon.Err() != nil {
			t.Error("ended before the stop")
		}
		stop(errStop)
		<-ctx.Done()
		return nil
	})
	if err := app.Run(ctx, worker); err != nil {
		t.Error(err)
	}
}

// A context costs no goroutine.
func TestUntilStoppingManyTimes(t *testing.T) {
	var app pid1.App
	before := runtime.NumGoroutine()
	for range 1000 {
		_, cancel := app.UntilStopping(t.Context(), time.Hour)
		defer cancel()
	}
	if more := runtime.NumGoroutine() - before; more > 100 { // other tests' may come and go
		t.Errorf("%d goroutines more", more)
	}
}
