// SPDX-License-Identifier: MIT

//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package sig

import "syscall"

// osName knows the names that BSD adds.
func osName(s syscall.Signal) string {
	switch s {
	case syscall.SIGEMT:
		return "SIGEMT"
	case syscall.SIGINFO:
		return "SIGINFO"
	}
	return ""
}
