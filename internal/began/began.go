// SPDX-License-Identifier: MIT

// Package began lets package pid1 tell package shutdown when a stop began: its grace
// counts from then, and what pid1 does before it runs the pipeline takes time.
package began

import (
	"context"
	"time"
)

type key struct{}

// At returns a context for the pipeline of a stop that began at t. The zero time
// makes it one for any other pipeline.
func At(ctx context.Context, t time.Time) context.Context { return context.WithValue(ctx, key{}, t) }

// When returns the time that At was given, or now.
func When(ctx context.Context) time.Time {
	if t, _ := ctx.Value(key{}).(time.Time); !t.IsZero() {
		return t
	}
	return time.Now()
}
