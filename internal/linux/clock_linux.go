// SPDX-License-Identifier: MIT

package linux

import (
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic is the time on CLOCK_MONOTONIC, which systemd compares with its own.
// It is 0 if the kernel refuses.
func Monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
