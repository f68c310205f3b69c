// SPDX-License-Identifier: MIT

package shutdown_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

// A hook of DeferLast sees how those before it ended.
func TestReportFrom(t *testing.T) {
	type key struct{}
	cause, boom := errors.New("cause"), errors.New("boom")
	p := shutdown.Pipeline{Logger: slog.New(slog.DiscardHandler), Grace: 2 * time.Second, Cause: cause}
	p.DeferLast("telemetry", func(ctx context.Context) error {
		r := shutdown.ReportFrom(context.WithValue(ctx, key{}, 1))
		if len(r.Steps) != 2 || r.Steps[0].Name != "ok" || r.Steps[1].State != shutdown.Failed || !errors.Is(r.Err(), boom) {
			t.Errorf("steps %v", r.Steps)
		}
		if r.Cause != cause || r.Took < r.Steps[1].Start || !strings.HasPrefix(r.String(), "shutdown: cause, 2s grace") {
			t.Errorf("report %v", r)
		}
		r.Steps[0].Name = "mine" // it is a copy
		return nil
	})
	p.Defer("fails", func(context.Context) error { return boom })
	p.Defer("ok", func(context.Context) error { return nil })
	report := p.Run(context.Background())
	if report.Steps[0].Name != "ok" || report.Cause != cause {
		t.Errorf("steps %v, cause %v", report.Steps, report.Cause)
	}
	if shutdown.ReportFrom(context.Background()) != nil {
		t.Error("a report outside a hook")
	}
}

// A hook that was left behind may ask while Run goes on (for the race detector).
func TestReportFromLeftBehind(t *testing.T) {
	p := shutdown.Pipeline{Logger: slog.New(slog.DiscardHandler), Grace: time.Minute}
	release, over, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	for range 100 {
		p.Defer("after it", func(context.Context) error { return nil })
	}
	p.Defer("releases it", func(context.Context) error { close(release); return nil })
	p.Add(shutdown.Hook{Name: "stuck", Timeout: 10 * time.Millisecond, Func: func(ctx context.Context) error {
		defer close(ended)
		<-release
		for {
			if r := shutdown.ReportFrom(ctx); len(r.Steps) == 0 || r.Steps[0].Name != "stuck" {
				t.Errorf("steps %v", r.Steps)
			}
			select {
			case <-over:
				return nil
			default:
			}
		}
	}})
	p.Run(context.Background())
	close(over)
	<-ended
}
