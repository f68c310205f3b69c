// SPDX-License-Identifier: MIT

//go:build unix

package pid1

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// newExecError takes what os/exec returns for the same failures.
func TestExecErrorOfCommand(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("PATH", dir)
	write("plain", "", 0o644)
	gone := exec.Command(write("ok", "#!/bin/sh\n", 0o755))
	gone.Dir = filepath.Join(dir, "gone")

	tests := []struct {
		cmd   *exec.Cmd
		code  int
		is    error
		cause string
	}{
		{exec.Command("absent"), 127, exec.ErrNotFound, "PATH is"},
		{exec.Command(filepath.Join(dir, "absent")), 127, fs.ErrNotExist, ""},
		{exec.Command("plain"), 126, fs.ErrPermission, "not executable"},
		{exec.Command(dir), 126, fs.ErrPermission, "directory"},
		{exec.Command(write("text", "echo\n", 0o755)), 126, syscall.ENOEXEC, "#!"},
		{exec.Command(write("none", "#!/opt/none\n", 0o755)), 126, fs.ErrNotExist, "/opt/none"},
		{gone, 126, fs.ErrNotExist, "working directory"},
	}
	for _, tt := range tests {
		err := tt.cmd.Start()
		if err == nil {
			t.Fatalf("%s started", tt.cmd.Path)
		}
		e := newExecError(tt.cmd.Path, err)
		if e.ExitCode() != tt.code || !errors.Is(e, tt.is) || !strings.Contains(e.Cause, tt.cause) {
			t.Errorf("%v: got %d, %v; want %d, %v, %q", err, e.ExitCode(), e, tt.code, tt.is, tt.cause)
		}
		if strings.Count(e.Error(), tt.cmd.Path+`"`) > 1 || strings.Contains(e.Error(), "fork/exec") {
			t.Errorf("%v: %q says it twice", err, e)
		}
	}
}
