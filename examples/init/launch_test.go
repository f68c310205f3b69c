//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"golang.org/x/sys/unix"
)

// launched is the command that prepares a process as what says, and then has it
// replaced by cmd.
func launched(t testing.TB, what string, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	launcher := nstest.Child(t, "launch", append([]string{what, cmd.Path}, cmd.Args...)...)
	if i := slices.IndexFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, "ENTRYPOINT_NSTEST_HELPER=") }); i >= 0 {
		launcher.Env = append(launcher.Env, "LAUNCH_ENV="+cmd.Env[i])
	}
	return launcher
}

func launch() int {
	what, path, argv := os.Args[1], os.Args[2], os.Args[3:]
	env := os.Environ()
	if variable, ok := os.LookupEnv("LAUNCH_ENV"); ok {
		os.Unsetenv("LAUNCH_ENV")
		env = append(os.Environ(), variable)
	}
	runtime.LockOSThread() // whose signal mask execve keeps
	var err error
	switch what {
	case "subreaper":
		err = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	case "signals":
		signal.Ignore(ignored...)
		err = block(blocked...)
	case "parent":
		// Not replaced: the test kills this process, and cmd lives on.
		cmd := &exec.Cmd{Path: path, Args: argv, Env: env, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
		if err = cmd.Run(); err == nil {
			return 0
		}
	}
	if err == nil {
		err = syscall.Exec(path, argv, env)
	}
	fmt.Fprintf(os.Stderr, "launch: %v\n", err)
	return 1
}

func block(signals ...syscall.Signal) error {
	var set uint64
	for _, sig := range signals {
		set |= 1 << (sig - 1)
	}
	const sigBlock = 0
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigBlock, uintptr(unsafe.Pointer(&set)), 0, 8, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// What the parent of the init process ignores and blocks: of each kind those
// that Go's runtime leaves alone at its start, and does not.
var (
	ignored = []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTTOU, syscall.SIGUSR2}
	blocked = []syscall.Signal{syscall.SIGTTIN, syscall.SIGUSR1, syscall.SIGTERM, 40}
)

// The program starts with the signals ignored and blocked that the init process
// was started with, as far as Go lets it: see pid1.Exec.
func TestSignalsOfParentAreKept(t *testing.T) {
	each(t, []rival{ours, tini}, func(t *testing.T, r rival) {
		cmd := launched(t, "signals", r.command(t, "-s", "--", "grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"))
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		const (
			hup, intr, usr1, usr2, term, ttin, ttou, rt40 = 1 << 0, 1 << 1, 1 << 9, 1 << 11, 1 << 14, 1 << 20, 1 << 21, 1 << 39
		)
		wantBlocked, wantIgnored := uint64(ttin|usr1|term|rt40), uint64(hup|intr|ttou|usr2)
		if r == ours {
			wantBlocked &^= term
			wantIgnored &^= usr2
		}
		want := fmt.Sprintf("SigBlk:\t%016x\nSigIgn:\t%016x\n", wantBlocked, wantIgnored)
		if got := string(out); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	})
}

// -p makes of the death of the parent a signal to the program.
func TestParentDeath(t *testing.T) {
	each(t, []rival{ours, tini}, func(t *testing.T, r rival) {
		cmd := r.command(t, append([]string{"-s", "-p", "SIGUSR1"}, programArgs("signals")...)...)
		p := start(t, launched(t, "parent", cmd))
		p.line(t)
		p.signal(t, syscall.SIGKILL)
		if got, want := p.line(t), "10"; got != want {
			t.Errorf("got signal %s, want %s", got, want)
		}
		p.stdin.Close() // ends the program, and the init process with it
	})
}
