// SPDX-License-Identifier: MIT

package pid1

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

// With no descriptor free the step "bytes" looks again until it can, and does not
// take what it cannot see for delivered.
func TestAwaitNoDescriptor(t *testing.T) {
	take, free := nstest.Descriptors(t)
	const warning = "whether clients have received all was not known in time"
	for name, c := range map[string]struct {
		grace time.Duration
		warns bool
	}{
		"free again": {time.Minute, false},
		"never":      {200 * time.Millisecond, true},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			take()
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), c.grace)
			defer cancel()
			const taken = 100 * time.Millisecond
			if !c.warns {
				defer time.AfterFunc(taken, free).Stop()
			}
			app := &App{Logger: slog.New(slog.NewTextHandler(&log, nil))}
			err := delivery{}.await(ctx, app)
			took := time.Since(start)
			free()
			app.log()
			app.records.Flush(time.Minute)
			if err != nil || strings.Contains(log.String(), warning) != c.warns {
				t.Errorf("got %v and the log %q, want nil and a warning: %v", err, &log, c.warns)
			}
			if took < taken {
				t.Errorf("it took %v, although no descriptor was free", took)
			}
		})
	}
}
