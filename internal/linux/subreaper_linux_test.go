// SPDX-License-Identifier: MIT

package linux_test

import (
	"fmt"
	"testing"

	"github.com/entrypoint-go/entrypoint/internal/linux"
	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

func init() {
	helpers["subreaper"] = func() int {
		for _, want := range []bool{false, true, false} {
			err := linux.SetSubreaper(want)
			if got, getErr := linux.IsSubreaper(); got != want || err != nil || getErr != nil {
				fmt.Printf("got %v, %v, %v; want %v\n", got, err, getErr, want)
			}
		}
		for _, before := range []bool{false, true} {
			linux.SetSubreaper(before)
			first, _ := linux.Adopt()
			second, _ := linux.Adopt()
			for i, release := range []func(){first, first, second} { // a second call changes nothing
				if is, _ := linux.IsSubreaper(); !is {
					fmt.Println("no subreaper before the end of", i)
				}
				release()
			}
			if is, _ := linux.IsSubreaper(); is != before {
				fmt.Println("before:", before, "after:", is)
			}
		}
		return 0
	}
}

func TestSubreaper(t *testing.T) {
	nstest.SkipEmulated(t, "refuses PR_SET_CHILD_SUBREAPER")
	if out, err := nstest.Child(t, "subreaper").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
