// SPDX-License-Identifier: MIT

//go:build unix && !linux && !(darwin || dragonfly || freebsd || netbsd || openbsd)

package sig

import "syscall"

func osName(syscall.Signal) string { return "" } // none added
