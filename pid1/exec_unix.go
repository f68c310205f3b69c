// SPDX-License-Identifier: MIT

//go:build unix

package pid1

import (
	"sync"
	"syscall"
)

// Go raises the soft limit of open files at its start, and syscall.Exec lowers it
// again. It does not undo that when it fails, and forgets the lower limit. So that is
// kept here, for the next Exec.
var openFiles struct {
	sync.Mutex
	low, high syscall.Rlimit
}

// execve is syscall.Exec. If it fails, the limit of open files is what it was.
func execve(path string, argv, env []string) error {
	openFiles.Lock()
	defer openFiles.Unlock()
	var was, now syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was) != nil {
		return syscall.Exec(path, argv, env)
	}
	// If it is another one, somebody has set it since, for the program too.
	if was == openFiles.high && was != openFiles.low {
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &openFiles.low)
	}
	err := syscall.Exec(path, argv, env)
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now) == nil && now != was {
		openFiles.low, openFiles.high = now, was
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)
	}
	return err
}
