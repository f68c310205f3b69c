package pid1_test

import (
	"context"
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
		<-late.Done()
		if later.Err() != nil {
			t.Error("an hour has passed in no time")
		}
		return nil
	})
	ctx, stop := context.WithCancel(t.Context())
	worker := pid1.Func(func(ctx context.Context) error {
		if soon.Err() != nil {
			t.Error("ended before the stop")
		}
		stop()
		<-ctx.Done()
		return nil
	})
	if err := app.Run(ctx, worker); err != nil {
		t.Error(err)
	}
}
