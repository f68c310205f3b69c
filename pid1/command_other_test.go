// SPDX-License-Identifier: MIT

//go:build unix && !linux

package pid1_test

import (
	"os/exec"
	"testing"
)

func setPdeathsig(t testing.TB, cmd *exec.Cmd) { t.Skip("no such signal") }
