// SPDX-License-Identifier: MIT

//go:build !linux

package nstest

import (
	"errors"
	"runtime"
	"syscall"
	"testing"
)

func requireNamespaces(t testing.TB, _ bool) {
	t.Helper()
	t.Skipf("nstest: %s has no PID namespaces", runtime.GOOS)
}

func namespaces() *syscall.SysProcAttr { return nil }

func mountProc() error { return errors.ErrUnsupported }
