//go:build unix && !linux && !(darwin || dragonfly || freebsd || netbsd || openbsd)

package sig

import "syscall"

var osNames map[syscall.Signal]string // none added
