// SPDX-License-Identifier: MIT

//go:build !linux

package sig

import "syscall"

const last = 31 // the last signal that all systems have

func isCLibrary(syscall.Signal) bool { return false }

// IgnoredAtStart is empty on this system.
func IgnoredAtStart() Set { return 0 }

// PrepareExec does nothing on this system.
func PrepareExec() (undo func()) { return func() {} }
