// SPDX-License-Identifier: MIT

package pid1_test

import (
	"os/exec"
	"syscall"
	"testing"
)

func setPdeathsig(_ testing.TB, cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
