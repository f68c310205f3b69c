// SPDX-License-Identifier: MIT

package shutdown

import (
	"context"
	"slices"
	"time"
)

type runKey struct{}

// ReportFrom returns the report so far, for a hook: ctx is its context, or derived
// from it. It has the steps that have ended, and Took until now. So a hook of
// [Pipeline.DeferLast] can count what went wrong while metrics can still be sent:
//
//	stop.DeferLast("telemetry", func(ctx context.Context) error {
//		record(shutdown.ReportFrom(ctx))
//		return provider.Shutdown(ctx)
//	})
//
// It returns nil for a context that is not a hook's.
func ReportFrom(ctx context.Context) *Report {
	r, ok := ctx.Value(runKey{}).(*run)
	if !ok {
		return nil
	}
	r.pipeline.mu.Lock()
	defer r.pipeline.mu.Unlock()
	return &Report{
		Cause:  r.report.Cause,
		Steps:  slices.Clone(r.report.Steps),
		Grace:  r.grace,
		Took:   time.Since(r.begin),
		config: r.report.config,
	}
}
