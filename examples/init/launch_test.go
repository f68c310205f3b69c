// SPDX-License-Identifier: MIT

//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/entrypoint-go/entrypoint/internal/linux"
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
		err = linux.SetSubreaper(true)
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

// The program starts with the signals ignored and blocked that the init process
// was started with, as far as Go's runtime leaves them so at its start. The set
// has that of tini's own suite in it, and of each kind some that the runtime
// leaves alone and some that it does not.
func TestSignalsOfParentAreKept(t *testing.T) {
	each(t, []rival{ours, tini}, func(t *testing.T, r rival) {
		const (
			hup, intr, ill, usr1, segv, usr2, pipe = 1 << 0, 1 << 1, 1 << 3, 1 << 9, 1 << 10, 1 << 11, 1 << 12
			term, chld, ttin, ttou, urg, rt40      = 1 << 14, 1 << 16, 1 << 20, 1 << 21, 1 << 22, 1 << 39
		)
		cmd := r.command(t, "-s", "--", "sed", "-n", "/^Sig\\(Ign\\|Blk\\)/p", "/proc/self/status") // grep(1) handles SIGSEGV
		asParent(t, cmd, "--ignore-signal=HUP,INT,SEGV,USR2,PIPE,TTOU", "--block-signal=ILL,USR1,TERM,CHLD,TTIN,URG,40")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		wantIgnored, wantBlocked := uint64(hup|intr|segv|usr2|pipe|ttou), uint64(ill|usr1|term|chld|ttin|urg|rt40)
		if r == ours {
			wantIgnored &^= segv | usr2 | pipe
			wantBlocked &^= ill | term | chld | urg
		}
		want := fmt.Sprintf("SigBlk:\t%016x\nSigIgn:\t%016x\n", wantBlocked, wantIgnored)
		if got := string(out); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	})
}

// SIGCHLD ignored at the start does not stay so: the kernel would forget the
// program's status. (tini waits for ever.)
func TestIgnoredSIGCHLD(t *testing.T) {
	cmd := ours.command(t, "--", "sh", "-c", "exit 7") // with -s the reaper asks for it anyway
	asParent(t, cmd, "--ignore-signal=CHLD,URG")
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("got %v, want status 7", err)
	}
}

// asParent has cmd started by env(1) with these options.
func asParent(t *testing.T, cmd *exec.Cmd, options ...string) {
	t.Helper()
	env, err := exec.LookPath("env")
	if err == nil {
		err = exec.Command(env, append(options, "true")...).Run() // GNU coreutils ≥ 8.31
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("env %q: %v", options, err)
		}
		t.Skipf("env %q: %v", options, err)
	}
	cmd.Args = slices.Concat([]string{"env"}, options, []string{cmd.Path}, cmd.Args[1:])
	cmd.Path = env
}

// With -p the program gets a signal when the parent dies.
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

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]syscall.Signal{
		"SIGTERM": syscall.SIGTERM, "TERM": syscall.SIGTERM, "term": syscall.SIGTERM, "15": 15, "SIGKILL": syscall.SIGKILL,
		"1": 1, "31": 31, "40": 40, "64": 64, "Usr1": syscall.SIGUSR1, "sigusr1": syscall.SIGUSR1,
		"": 0, "0": 0, "-1": 0, "65": 0, "999": 0, "SIG": 0, "SIGSIGTERM": 0, "TERMS": 0, " 15": 0, "1e1": 0, "signal 7": 0,
	} {
		if got, err := parseSignal(text); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: got %v, %v, want %d", text, got, err, int(want))
		}
	}
}

func FuzzParseSignal(f *testing.F) {
	f.Add("SIGTERM")
	f.Add("64")
	f.Fuzz(func(t *testing.T, text string) {
		sig, err := parseSignal(text)
		if err == nil && (sig < 1 || sig > 64) {
			t.Errorf("%q is %d", text, int(sig))
		}
		name := unix.SignalName(sig)
		if again, err := parseSignal(name); name != "" && (err != nil || again != sig) {
			t.Errorf("%q is %d, whose name %s is %d, %v", text, int(sig), name, int(again), err)
		}
	})
}
