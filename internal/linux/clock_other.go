// SPDX-License-Identifier: MIT

//go:build !linux

package linux

import "time"

// Monotonic is 0 where there is no systemd to compare it.
func Monotonic() time.Duration { return 0 }
