// SPDX-License-Identifier: MIT

package pid1

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

// Members that overrun take no time from those after them: each has its Reserve, or an
// equal part where there is not as much.
func TestInOrderShares(t *testing.T) {
	for _, test := range []struct {
		name          string
		limit, share  time.Duration // of the chain; what each member must have
		members       int
		reserve       time.Duration
		outsideAnyApp bool
	}{
		{"reserves", time.Second, 20 * time.Millisecond, 5, 20 * time.Millisecond, false},
		{"small reserves", time.Second, time.Millisecond, 20, time.Millisecond, false},
		{"more than fits", time.Second, 70 * time.Millisecond, 10, time.Minute, false},
		{"little time", 300 * time.Millisecond, 15 * time.Millisecond, 10, time.Minute, false},
		{"without an App", time.Second, 50 * time.Millisecond, 5, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), test.limit)
				defer cancel()
				if !test.outsideAnyApp {
					app := new(App)
					app.Shutdown.Reserve = test.reserve
					ctx = withStop(ctx, &stop{app: app})
				}
				release := make(chan struct{})
				var mu sync.Mutex
				var had []time.Duration
				stops := make([]shutdown.Hook, test.members)
				for i := range stops {
					stops[i].Func = func(ctx context.Context) error {
						end, _ := ctx.Deadline()
						mu.Lock()
						had = append(had, time.Until(end))
						mu.Unlock()
						<-release
						return nil
					}
				}
				_ = new(ordered).stopAll(ctx, stops)
				close(release)
				mu.Lock()
				defer mu.Unlock()
				for i, d := range had {
					if d < test.share {
						t.Errorf("member %d of %d had %v, want %v: %v", i+1, test.members, d, test.share, had)
						break
					}
				}
				if len(had) != test.members {
					t.Errorf("%d members were stopped, want %d", len(had), test.members)
				}
			})
		})
	}
}
