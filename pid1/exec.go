// SPDX-License-Identifier: MIT

package pid1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"

	"github.com/entrypoint-go/entrypoint/internal/errs"
	"github.com/entrypoint-go/entrypoint/internal/inspect"
	"github.com/entrypoint-go/entrypoint/internal/sig"
)

// Exec replaces this process by the program argv[0], called with argv, as
// exec "$@" ends a shell script. The PID, the working directory, the
// environment, the standard files and the limits stay; nothing of this program
// runs on, no deferred function and no hook. Exec returns only when that
// failed, always with an [*ExecError].
//
// A name without a slash is looked up in $PATH as by [exec.LookPath]: a program
// found there in the current directory is refused with [exec.ErrDot]. A text
// file without a #! line is refused; a shell would run it.
//
// On Linux the program starts with the default action of every signal, whatever
// [os/signal.Notify] or [os/signal.Ignore] have changed. SIGHUP, SIGINT, SIGCONT,
// SIGTSTP, SIGTTIN and SIGTTOU are ignored if they were when this process
// started, by nohup(1) for instance. It still gets the signal that this process
// was to get at the death of its parent (PR_SET_PDEATHSIG).
//
// Off Unix, Err wraps [errors.ErrUnsupported].
func Exec(argv ...string) error {
	if len(argv) == 0 {
		return &ExecError{Err: errors.New("no program is named: the argument list is empty")}
	}
	path, err := exec.LookPath(argv[0])
	if err == nil {
		err = replace(path, argv)
	}
	if path == "" {
		path = argv[0]
	}
	e := newExecError(path, err)
	e.explainSize(argv, os.Environ())
	return e
}

// replace is execve with signals as at the start of this process.
func replace(path string, argv []string) error {
	undo := sig.PrepareExec()
	defer undo()
	return execve(path, argv, os.Environ())
}

// ExecError says why [Exec] or [Command] could not run a program. The kernel's
// answer is often misleading: "no such file or directory" about a file that is
// there can mean its loader. Cause explains the common cases.
type ExecError struct {
	Path  string // the file, or the name as it was given if there is none
	Found bool   // a file of that name exists
	Cause string // the likely cause, for people; "" when Err says it all
	Err   error  // exec.ErrNotFound, exec.ErrDot or the kernel's answer
}

func (e *ExecError) Error() string {
	text := fmt.Sprintf("pid1: cannot run %q: %v", e.Path, e.Err)
	if e.Cause != "" {
		text += ": " + e.Cause
	}
	return text
}

func (e *ExecError) Unwrap() error { return e.Err }

// ExitCode returns 127 when there is no such program, and 126 when there is one
// that cannot be run, as in POSIX. (Shells also use 127 for a missing
// interpreter.)
func (e *ExecError) ExitCode() int {
	if e.Found {
		return 126
	}
	return 127
}

// newExecError explains why path could not be run. err is from exec.LookPath,
// syscall.Exec or exec.Cmd.Start. A relative path is taken as relative to this
// process's directory.
func newExecError(path string, err error) *ExecError {
	e := &ExecError{Path: path, Err: err}

	// Our own message has the path: keep the reason alone.
	if look, ok := errs.AsType[*exec.Error](err); ok {
		e.Err = look.Err
	}
	if failed, ok := errs.AsType[*fs.PathError](e.Err); ok {
		if failed.Op == "chdir" {
			e.Found = true
			e.Cause = "the working directory of the command, not its program, is the problem"
			return e
		}
		e.Err = failed.Err
	}

	// Not found in $PATH. A shell says "permission denied" where a file of that
	// name is there but not executable: that is the one that was meant.
	if errors.Is(e.Err, exec.ErrNotFound) && !strings.Contains(path, "/") {
		file := inPath(path)
		if file == "" {
			e.Cause = fmt.Sprintf("PATH is %q", os.Getenv("PATH"))
			return e
		}
		e.Path, e.Err = file, syscall.EACCES
	}

	_, stat := os.Stat(e.Path)
	e.Found = !errors.Is(stat, fs.ErrNotExist)
	e.Cause = inspect.ExecCause(inspect.Here, e.Path, e.Err)
	if errors.Is(e.Err, exec.ErrDot) {
		e.Cause = fmt.Sprintf("$PATH leads to the current directory; if that program is meant, call it %q", "./"+e.Path)
	}
	return e
}

// newStartError explains why cmd could not be started.
func newStartError(cmd *exec.Cmd, err error) *ExecError {
	if cmd.Dir != "" {
		// Package os does this only where there is no SysProcAttr. The dot is found in
		// a directory that may be searched, as by chdir.
		dir := cmd.Dir
		if root := asked(cmd.SysProcAttr, "Chroot"); root.IsValid() {
			dir = filepath.Join(root.String(), dir)
		}
		_, stat := os.Stat(dir + "/.")
		if failed, ok := errs.AsType[*fs.PathError](stat); ok && errors.Is(err, failed.Err) {
			err = &fs.PathError{Op: "chdir", Path: cmd.Dir, Err: failed.Err}
		}
	}
	e := newExecError(cmd.Path, err)
	e.explainSize(cmd.Args, cmd.Environ())
	if errors.Is(e.Err, syscall.EPERM) {
		var fields []string
		for _, name := range []string{"Credential", "Chroot", "Cloneflags", "Unshareflags", "Pgid", "Setctty", "AmbientCaps"} {
			if asked(cmd.SysProcAttr, name).IsValid() {
				fields = append(fields, name)
			}
		}
		if len(fields) > 0 {
			e.Cause = fmt.Sprintf("Cmd.SysProcAttr asks for %s, and this process may not do that", strings.Join(fields, ", "))
		}
	}
	return e
}

// asked is a field of attr, if that is there, and set. No system has all of them.
func asked(attr *syscall.SysProcAttr, name string) (field reflect.Value) {
	if attr != nil {
		field = reflect.ValueOf(*attr).FieldByName(name)
	}
	if !field.IsValid() || field.IsZero() {
		return reflect.Value{}
	}
	return field
}

// explainSize says which string the kernel found too long, if one was.
func (e *ExecError) explainSize(argv, env []string) {
	if !errors.Is(e.Err, syscall.E2BIG) {
		return
	}
	limit := 32 * os.Getpagesize() // MAX_ARG_STRLEN, with a zero byte
	total := 0
	for i, arg := range argv {
		total += len(arg) + 1
		if len(arg) >= limit {
			e.Cause = fmt.Sprintf("argument %d has %d bytes, and the kernel takes %d in one string; pass it in a file or by standard input", i, len(arg), limit-1)
			return
		}
	}
	for _, entry := range env {
		total += len(entry) + 1
		if name, _, _ := strings.Cut(entry, "="); len(entry) >= limit {
			e.Cause = fmt.Sprintf("the environment variable %s has %d bytes with its name, and the kernel takes %d in one string", name, len(entry), limit-1)
			return
		}
	}
	e.Cause = fmt.Sprintf("arguments and environment have %d bytes together, more than the kernel takes (a quarter of ulimit -s)", total)
}

// inPath returns the first file in $PATH called name, executable or not, or "".
func inPath(name string) string {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			return file
		}
	}
	return ""
}
