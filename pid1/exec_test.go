// SPDX-License-Identifier: MIT

//go:build unix

package pid1_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
)

func init() {
	helpers["exec"] = execHelper
	helpers["exec-twice"] = execTwice
	helpers["asks too much"] = asksTooMuch
}

// execHelper is exec "$@" in Go. What it prints and returns is Exec's failure.
func execHelper() int {
	err := pid1.Exec(os.Args[1:]...)
	fmt.Println(err)
	var e *pid1.ExecError
	if !errors.As(err, &e) {
		return 1
	}
	fmt.Printf("found=%v ErrNotFound=%v ErrDot=%v\n", e.Found, errors.Is(err, exec.ErrNotFound), errors.Is(err, exec.ErrDot))
	return e.ExitCode()
}

func TestExec(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script(t, dir, "prog", "#!/bin/sh\n"+`echo "$$ $PWD $T_VALUE $T_PIPE $#" "$@"; exit 42`)

	cmd := nstest.Child(t, "exec", "prog", "a b", "")
	cmd.Dir = dir
	cmd.Env = append(cmd.Env, "PATH=/nonexistent:"+dir, "T_VALUE=kept", "PWD="+dir)
	var stdout strings.Builder
	cmd.Stdout = &stdout
	err := cmd.Run()
	if cmd.Process == nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%d %s kept  2 a b \n", cmd.Process.Pid, dir)
	if got := stdout.String(); got != want || cmd.ProcessState.ExitCode() != 42 {
		t.Errorf("got %q, %v; want %q, exit status 42", got, err, want)
	}

	// argv[0] stays as it was given, also where $PATH led to another name.
	out, err := nstest.Child(t, "exec", "sh", "-c", "echo $0").Output()
	if err != nil || string(out) != "sh\n" {
		t.Errorf("argv[0]: got %q, %v; want sh", out, err)
	}
}

// Go raises the soft limit of open files at its start; the program gets it back
// as it was.
func TestExecOpenFiles(t *testing.T) {
	t.Parallel()
	cmd := nstest.Child(t, "exec", "sh", "-c", "ulimit -S -n")
	viaShell(t, cmd, "ulimit -S -n 123")
	if out, err := cmd.Output(); err != nil || string(out) != "123\n" {
		t.Errorf("got %q, %v; want 123", out, err)
	}
}

// execTwice calls Exec with its first argument, and then with the others.
func execTwice() int {
	fmt.Println(pid1.Exec(os.Args[1]))
	os.Args = os.Args[1:]
	return execHelper()
}

// So does one that is executed because another one could not be.
func TestExecOpenFilesAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script(t, dir, "text", "no program\n")
	cmd := nstest.Child(t, "exec-twice", dir+"/text", "sh", "-c", "ulimit -S -n")
	viaShell(t, cmd, "ulimit -S -n 123")
	if out, err := cmd.Output(); err != nil || !strings.HasSuffix(string(out), "\n123\n") {
		t.Errorf("got %q, %v; want 123 at the end", out, err)
	}
}

func TestExecErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	join := func(name string) string { return filepath.Join(dir, name) }
	script(t, dir, "ok", "#!/bin/sh\n")
	script(t, dir, "crlf", "#!/bin/sh\r\necho hello\r\n")
	script(t, dir, "nointerp", "#! /opt/none/python3 -u\nprint()\n")
	script(t, dir, "chained", "#!"+join("nointerp")+"\n")
	script(t, dir, "loop", "#!"+join("loop")+"\n")
	script(t, dir, "noshebang", "echo hello\n")
	script(t, dir, "bom", "\xef\xbb\xbf#!/bin/sh\n")
	script(t, dir, "empty", "")
	script(t, dir, "bare", "#!\necho\n")
	script(t, dir, "exe", "MZ\x90\x00")
	script(t, dir, "macho", "\xcf\xfa\xed\xfe\x07\x00\x00\x01")
	script(t, dir, "data", "\x01\x02\x00\x03")
	script(t, dir, "plain", "#!/bin/sh\n")
	script(t, dir, "viaplain", "#!"+join("plain")+"\n")
	os.Chmod(join("plain"), 0o644)
	os.Symlink("gone", join("dangling"))
	os.Mkdir(join("sub"), 0o755)
	path := "PATH=" + join("none") + ":" + dir

	tests := []struct {
		name string // of the file; "/" is put in front by its directory
		code int
		want string // in the error's text
	}{
		{"", 127, `cannot run "": no program is named`},
		{"absent", 127, `cannot run "absent": executable file not found in $PATH: PATH is "` + join("none") + ":" + dir + `"`},
		{join("absent"), 127, "no such file or directory\n"},
		{join("dangling"), 127, `symbolic link to "gone", which does not exist`},
		{dir, 126, "is a directory: name the program inside it"},
		{"sub", 127, "executable file not found"},
		{join("plain"), 126, "not executable, its mode is -rw-r--r--"},
		{"plain", 126, fmt.Sprintf("cannot run %q: permission denied: it is not executable", join("plain"))},
		{join("viaplain"), 126, fmt.Sprintf("its interpreter %q is not executable", join("plain"))},
		{join("ok") + "/x", 126, "not a directory"},
		{join("crlf"), 126, `its first line ends in CRLF, so the kernel looks for an interpreter called "/bin/sh\r"`},
		{"crlf", 126, fmt.Sprintf("cannot run %q: no such file or directory: its first line", join("crlf"))},
		{join("nointerp"), 126, `its interpreter "/opt/none/python3" (see its first line) does not exist here`},
		{join("chained"), 126, `its interpreter "/opt/none/python3"`},
		{join("loop"), 126, "too many levels of symbolic links\n"},
		{join("noshebang"), 126, "exec format error: it is a text file without a #! line"},
		{join("bom"), 126, "byte order mark"},
		{join("empty"), 126, "the file is empty"},
		{join("bare"), 126, "names no interpreter"},
		{join("exe"), 126, "Windows program"},
		{join("macho"), 126, "macOS program"},
		{join("data"), 126, "exec format error\n"},
	}
	for _, tt := range tests {
		cmd := nstest.Child(t, "exec", tt.name)
		if tt.name == "" {
			cmd = nstest.Child(t, "exec")
		}
		cmd.Env = append(cmd.Env, path)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != tt.code || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: got %d, %swant %d, %q", tt.name, got, out, tt.code, tt.want)
		}
		if found := strings.Contains(string(out), "found=true"); found != (tt.code == 126) {
			t.Errorf("%s: code %d, but %s", tt.name, tt.code, out)
		}
	}
}

// A program in the current directory is never meant by a bare name.
func TestExecDot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script(t, dir, "prog", "#!/bin/sh\necho ran\n")
	for _, path := range []string{".", ":/bin", "/none:"} {
		cmd := nstest.Child(t, "exec", "prog")
		cmd.Dir = dir
		cmd.Env = append(cmd.Env, "PATH="+path)
		out, _ := cmd.CombinedOutput()
		got := cmd.ProcessState.ExitCode()
		if got != 126 || !strings.Contains(string(out), "ErrDot=true") || !strings.Contains(string(out), "./prog") {
			t.Errorf("PATH=%s: got %d, %swant 126 and a hint at ./prog", path, got, out)
		}
	}
}

// A working directory that is wrong is not a program that is missing.
func TestCommandDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script(t, dir, "ok", "#!/bin/sh\n")
	for _, c := range []struct {
		dir, path string
		want      error
		named     bool // the directory, as the problem
	}{
		{dir + "/none", dir + "/ok", syscall.ENOENT, true},
		{dir + "/ok", dir + "/ok", syscall.ENOTDIR, true},
		{dir, dir + "/none", syscall.ENOENT, false},
	} {
		err := pid1.Command(&exec.Cmd{Path: c.path, Dir: c.dir}).ListenAndServe()
		named := strings.Contains(fmt.Sprint(err), fmt.Sprintf("chdir %s: %v: the working directory", c.dir, c.want))
		if !errors.Is(err, c.want) || named != c.named {
			t.Errorf("%s in %s: got %v, want %v, the directory named: %v", c.path, c.dir, err, c.want, c.named)
		}
	}
}

// asksTooMuch runs a program as root, and is not root.
func asksTooMuch() int {
	if err := syscall.Setuid(65534); err != nil && os.Getuid() == 0 {
		fmt.Println(err)
		return 1
	}
	err := pid1.Command(&exec.Cmd{
		Path: "/bin/sh", Args: []string{"sh", "-c", ":"},
		SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{}},
	}).ListenAndServe()
	fmt.Println(err)
	return pid1.ExitCode(err)
}

// What SysProcAttr asks for and may not have is not the program's mode.
func TestCommandAsksTooMuch(t *testing.T) {
	t.Parallel()
	cmd := nstest.Child(t, "asks too much")
	out, _ := cmd.CombinedOutput()
	const want = "operation not permitted: Cmd.SysProcAttr asks for Credential, and this process may not do that\n"
	if code := cmd.ProcessState.ExitCode(); code != 126 || !strings.HasSuffix(string(out), want) {
		t.Errorf("got %d, %q; want 126, %q", code, out, want)
	}
}

// script writes an executable file. No other test forks meanwhile: its child would
// have the file open for writing until it execs, and nobody could run it (ETXTBSY).
func script(t *testing.T, dir, name, text string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// viaShell makes cmd start from a shell that runs setup first.
func viaShell(t *testing.T, cmd *exec.Cmd, setup string) {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	cmd.Args = append([]string{"sh", "-c", setup + `; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = sh
}
