package pid1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Exec replaces this process by the program argv[0], called with argv, as
// exec "$@" ends a shell script. The PID, the working directory, the
// environment, the standard files and the limits stay; nothing of this program
// runs on, no deferred function and no hook. Exec returns only when that
// failed, always with an [*ExecError].
//
// A name without a slash is looked up in $PATH, like [exec.LookPath] does: a
// program found in the current directory by that way is refused with
// [exec.ErrDot]. A text file without a #! line is refused; a shell would run it.
//
// On Linux the program starts with the signals that this one started with. What
// [os/signal.Notify] caught has its default action again, what
// [os/signal.Ignore] ignored too, and a CPU profile is ended, whose timer would
// kill the program. Go's runtime takes some over before any Go code runs, so
// that a signal that was ignored at the start is ignored again only if it is
// SIGHUP, SIGINT, SIGCONT, SIGTSTP, SIGTTIN or SIGTTOU. A signal that was blocked
// is blocked again except SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGTERM, SIGSYS,
// SIGCHLD, SIGURG, SIGPROF and those of program faults. A container runtime
// starts programs with none of either. Where that is not enough, on amd64 and
// arm64, build with -tags entrypoint_signals -ldflags=-checklinkname=0: then all
// are as they were.
//
// Off Unix the Err is [errors.ErrUnsupported].
func Exec(argv ...string) error {
	if len(argv) == 0 {
		return &ExecError{Err: errors.New("no program is named: the argument list is empty")}
	}
	path, err := exec.LookPath(argv[0])
	if err == nil {
		err = replace(path, argv, os.Environ())
	}
	if path == "" {
		path = argv[0]
	}
	return execError(path, err)
}

// ExecError says why a program could not be run, by [Exec] or by [Command]. The
// kernel's answer is often a riddle: "no such file or directory" for a file
// that is there may mean its loader. Cause solves the common ones.
type ExecError struct {
	Path  string // the file; the name as it was given where none was found
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

// ExitCode is 127 when there is no such program and 126 when there is one that
// cannot be run, as in POSIX. (Shells give 127 also for a missing interpreter.)
func (e *ExecError) ExitCode() int {
	if e.Found {
		return 126
	}
	return 127
}

// execError explains why path could not be run. The error may come from
// exec.LookPath, syscall.Exec or exec.Cmd.Start; a relative path must be
// relative to this process's directory.
func execError(path string, err error) *ExecError {
	e := &ExecError{Path: path, Err: err}

	// The path is in our own message: keep the reason alone.
	var dir *fs.PathError
	switch look := (*exec.Error)(nil); {
	case errors.As(err, &look):
		e.Err = look.Err
	case errors.As(err, &dir) && dir.Op == "chdir":
		e.Found = true
		e.Cause = "the working directory of the command, not its program, is the problem"
		return e
	}
	if perr := (*fs.PathError)(nil); errors.As(e.Err, &perr) {
		e.Err = perr.Err
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
	e.Cause = execCause(e.Path, e.Err)
	if errors.Is(e.Err, exec.ErrDot) {
		e.Cause = fmt.Sprintf("$PATH leads to the current directory; if that program is meant, call it %q", "./"+e.Path)
	}
	return e
}

// inPath is the first file in $PATH called name, executable or not, or "".
func inPath(name string) string {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			return file
		}
	}
	return ""
}
