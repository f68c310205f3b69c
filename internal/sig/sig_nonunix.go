// SPDX-License-Identifier: MIT

//go:build !unix

package sig

import (
	"os"
	"syscall"
)

// nameOf knows the signals that Go makes up for the events of this system.
func nameOf(s syscall.Signal) string {
	switch s {
	case syscall.SIGTERM:
		return "SIGTERM"
	case syscall.SIGINT:
		return "SIGINT"
	case syscall.SIGHUP:
		return "SIGHUP"
	}
	return ""
}

// WhyNoStop says why a signal cannot begin a stop. It is "" for those that can.
func WhyNoStop(s os.Signal) string {
	if s == syscall.SIGKILL {
		return "which no process can handle"
	}
	return ""
}
