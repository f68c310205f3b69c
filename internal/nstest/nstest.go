// SPDX-License-Identifier: MIT

// Package nstest runs functions of a test binary in processes of their own: as
// PID 1 of a new PID namespace, without Docker and without privileges, or as an
// ordinary child. The binary starts itself, as in os/exec's own tests, and Main
// calls the function with the name that it was given.
//
//	func TestMain(m *testing.M) {
//		nstest.Main(map[string]func() int{"serve": serve})
//		goleak.VerifyTestMain(m)
//	}
//
//	func TestServe(t *testing.T) {
//		cmd := nstest.Command(t, "serve", "an argument")
//		…
//	}
package nstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/sig"
)

// The environment of a helper process; Main removes it before the helper runs.
const (
	helperVar = "ENTRYPOINT_NSTEST_HELPER" // the helper's name
	procVar   = "ENTRYPOINT_NSTEST_PROC"   // set: mount a /proc of the new PID namespace
	timeVar   = "ENTRYPOINT_NSTEST_TIME"   // how long the helper may run
)

// longest is how long a helper runs whose test has no deadline.
const longest = 10 * time.Minute

// probe is the name of the helper that does nothing. It tells whether the
// kernel lets this user create the namespaces.
const probe = "nstest.probe"

// Main runs a helper when this process was started by Command or Child, and
// exits with the helper's result. In any other process it returns at once.
// Call it first in TestMain: the helper then never sees the test flags, and
// its os.Args[1:] are the arguments given to Command.
func Main(helpers map[string]func() int) {
	name, ok := os.LookupEnv(helperVar)
	if !ok {
		defaultSignals()
		return
	}
	limit, err := time.ParseDuration(os.Getenv(timeVar))
	if err != nil {
		limit = longest
	}
	time.AfterFunc(limit, func() { // the test binary may be gone
		fail(fmt.Errorf("helper %q hangs:\n%s", name, stacks()))
	})
	_, freshProc := os.LookupEnv(procVar)

	os.Unsetenv(helperVar)
	os.Unsetenv(procVar)
	os.Unsetenv(timeVar)

	if freshProc {
		if err := mountProc(); err != nil {
			fail(err)
		}
	}
	if name == probe {
		os.Exit(0)
	}
	helper, ok := helpers[name]
	if !ok {
		fail(fmt.Errorf("no helper is called %q", name))
	}
	os.Exit(helper())
}

// defaultSignals gives the processes that tests start the default action of
// signals that are ignored here, by nohup(1), a shell's "&" or a CI runner: a
// program inherits what is ignored, and not what is caught.
func defaultSignals() {
	isFlag := func(arg string) bool { return strings.HasPrefix(arg, "-test.") }
	if !slices.ContainsFunc(os.Args, isFlag) {
		return // this is no test, but a program that one has started
	}
	if ignored := sig.IgnoredAtStart().Signals(); len(ignored) > 0 {
		signal.Notify(make(chan os.Signal, 1), ignored...)
	}
}

// Rounds is how often a test repeats what goes wrong once in many times: usual, with
// -short brief, and with ENTRYPOINT_LONG=1 in the environment, as in CI, long. Helpers
// do not know of -short: tell them.
func Rounds(brief, usual, long int) int {
	switch {
	case os.Getenv("ENTRYPOINT_LONG") == "1":
		return long
	case testing.Short():
		return brief
	}
	return usual
}

// Parallel is how many tests that wait may run at a time, as -test.parallel takes it:
// n, or 4 on a busy machine, on which they would make each other late.
func Parallel(n int) string {
	if Busy() {
		n = min(n, 4)
	}
	return strconv.Itoa(n)
}

// Busy reports whether the machine has had more to do, in the last minute, than three
// times as many processors could.
func Busy() bool {
	var load float64
	text, err := os.ReadFile("/proc/loadavg") // see proc_loadavg(5)
	if err == nil {
		fmt.Sscan(string(text), &load)
	}
	return load > 3*float64(runtime.NumCPU())
}

func stacks() []byte {
	all := make([]byte, 1<<20)
	return all[:runtime.Stack(all, true)]
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "nstest: %v\n", err)
	os.Exit(2)
}

// Command returns the command, not yet started, that runs helper as PID 1 of
// new PID and mount namespaces, with a /proc that shows only these processes.
// A test that is not run by root gets a user namespace around them, in which
// the helper is uid 0. The command may be changed before it is started; to
// add to its environment, append to Env.
//
// The kernel kills every process of the namespace with its PID 1, so killing
// the command ends all. That happens at the end of the test at the latest,
// or when the thread that started the command ends: start it from a goroutine
// that is not locked to a thread, or from a thread that stays. A command that
// hangs ends with Context, and writes the stacks of its goroutines to stderr. It
// ends a little later by itself, should the test binary be gone. Signals have
// their default action, also if the tests run in the background or by nohup.
//
// Where the system does not allow such namespaces the test is skipped, with
// the reason. With CI=true in the environment that is a failure instead.
func Command(t testing.TB, helper string, args ...string) *exec.Cmd {
	t.Helper()
	requireNamespaces(t, true)
	cmd := command(t, helper, args)
	cmd.Env = append(cmd.Env, procVar+"=1")
	cmd.SysProcAttr = namespaces()
	return cmd
}

// CommandWithHostProc is Command without the fresh /proc: the helper is PID 1
// and sees the /proc of the namespace above, where it has another number.
// Programs meet this after "unshare --pid" without --mount-proc.
func CommandWithHostProc(t testing.TB, helper string, args ...string) *exec.Cmd {
	t.Helper()
	requireNamespaces(t, false)
	cmd := command(t, helper, args)
	cmd.SysProcAttr = namespaces()
	return cmd
}

// Child returns the command, not yet started, that runs helper as an ordinary
// process: same binary, no new namespace. It works on every system. The
// process is killed at the end of the test at the latest, its own children
// are not; one that hangs ends as that of Command does.
func Child(t testing.TB, helper string, args ...string) *exec.Cmd {
	t.Helper()
	return command(t, helper, args)
}

// margin is the time that a test has, after its Context has ended, to say why
// it failed.
const margin = 15 * time.Second

// Context returns a context that ends shortly before go test's -timeout, which
// would end all tests and not say what the processes of this one have written.
// What a test waits for without another limit should end with it.
func Context(t testing.TB) context.Context {
	limited, ok := t.(interface{ Deadline() (time.Time, bool) })
	if !ok {
		return context.Background() // a benchmark
	}
	deadline, ok := limited.Deadline()
	if !ok {
		return context.Background()
	}
	ctx, cancel := context.WithDeadlineCause(context.Background(), deadline.Add(-margin), errors.New("the test hangs"))
	t.Cleanup(cancel)
	return ctx
}

func command(t testing.TB, helper string, args []string) *exec.Cmd {
	t.Helper()
	ctx := Context(t)
	cmd, err := reexec(ctx, helper, args...)
	if err != nil {
		t.Fatalf("nstest: %v", err)
	}
	// Go's runtime answers SIGQUIT with the stacks, and as PID 1, too.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	cmd.WaitDelay = margin / 3 // a grandchild of Child may hold the pipes

	limit := longest
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline) + margin/2 // SIGQUIT comes first
	}
	cmd.Env = append(cmd.Env, timeVar+"="+limit.String())

	// A binary built for coverage warns on stderr at exit when it does not
	// know where to write, and tests read the helpers' stderr.
	if testing.CoverMode() != "" {
		cmd.Env = append(cmd.Env, "GOCOVERDIR="+t.TempDir())
	}
	t.Cleanup(func() { end(cmd) })
	return cmd
}

// reexec is this binary as the named helper. A process that still has
// helperVar is a helper whose TestMain has not called Main: it would run the
// tests again, and they the helper, without end.
func reexec(ctx context.Context, helper string, args ...string) (*exec.Cmd, error) {
	if _, ok := os.LookupEnv(helperVar); ok {
		return nil, errors.New("call nstest.Main first in TestMain")
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("path of the test binary: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), helperVar+"="+helper)

	// A binary built with -race sleeps for a second before it exits, for the
	// sake of reports in flight. Tests time exits, and start many helpers.
	cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	return cmd, nil
}

// end kills what a test that failed half way has left running.
func end(cmd *exec.Cmd) {
	if cmd.Process == nil || cmd.ProcessState != nil {
		return
	}
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
}
