// SPDX-License-Identifier: MIT

package pid1

import (
	"testing"

	"github.com/entrypoint-go/entrypoint/internal/linux"
	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/reaper"
)

// A subreaper is one before Run starts anything, and none after it.
func TestSubreaperAtOnce(t *testing.T) {
	nstest.SkipEmulated(t, "refuses PR_SET_CHILD_SUBREAPER")
	isSubreaper := func() bool {
		is, err := linux.IsSubreaper()
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	for range 100 {
		app := App{Reaper: reaper.Reaper{Subreaper: true}}
		end := app.reap()
		if !isSubreaper() {
			t.Error("not a subreaper yet")
		}
		if end(); isSubreaper() {
			t.Error("still a subreaper")
		}
	}
}
