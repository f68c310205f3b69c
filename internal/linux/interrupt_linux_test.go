// SPDX-License-Identifier: MIT

package linux

import (
	"testing"

	"golang.org/x/sys/unix"
)

// When two want it at a time, the flag is back when both are done, in any order.
func TestInterruptible(t *testing.T) {
	flags := func() uint32 {
		var now Sigaction
		if errno := SetSigaction(unix.SIGURG, nil, &now); errno != 0 {
			t.Fatal(errno)
		}
		return *now.flags()
	}
	before := flags()
	first, second := Interruptible(), Interruptible()
	if flags() == before {
		t.Error("the flags are as before")
	}
	first()
	if flags() == before {
		t.Error("the flags are as before while one wants it")
	}
	second()
	if after := flags(); after != before {
		t.Errorf("flags %#x, were %#x", after, before)
	}
}
