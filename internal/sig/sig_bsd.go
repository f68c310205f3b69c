//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package sig

import "syscall"

// osNames are the names that BSD adds.
var osNames = map[syscall.Signal]string{
	syscall.SIGEMT:  "SIGEMT",
	syscall.SIGINFO: "SIGINFO",
}
