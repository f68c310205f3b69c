// SPDX-License-Identifier: MIT

package pid1

import (
	"testing"
	"time"

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
		end()
		for until := time.Now().Add(10 * time.Second); isSubreaper(); time.Sleep(time.Millisecond) {
			// On a starved machine end does not wait for the Reaper.
			if !nstest.Busy() || time.Now().After(until) {
				t.Fatal("still a subreaper")
			}
		}
	}
}

// Of two Apps whose Runs overlap, the last to end puts back what was before both.
func TestSubreaperOfTwo(t *testing.T) {
	nstest.SkipEmulated(t, "refuses PR_SET_CHILD_SUBREAPER")
	var apps [2]App
	var ends [2]func()
	for i := range apps {
		apps[i].Reaper.Subreaper = true
		ends[i] = apps[i].reap()
	}
	for i, end := range ends {
		end()
		if is, err := linux.IsSubreaper(); err != nil || is != (i == 0) {
			t.Errorf("after %d of 2: a subreaper: %v, %v", i+1, is, err)
		}
	}
}
