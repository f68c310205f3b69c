// SPDX-License-Identifier: MIT

//go:build unix

package pid1

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"testing"
)

// A signal that comes before the child runs is for the child.
func TestSignalBeforeStart(t *testing.T) {
	child := &Child{Cmd: exec.Command("sleep", "60")}
	child.signal(syscall.SIGUSR1)
	if got, want := ExitCode(child.ListenAndServe()), 128+int(syscall.SIGUSR1); got != want {
		t.Errorf("exit code %d, want %d", got, want)
	}
}

// A child that is being started when a stop is forced is not left behind.
func TestKillWhileStarting(t *testing.T) {
	for caught := 0; caught < 10; {
		child := &Child{Cmd: exec.Command("sleep", "60")}
		done := make(chan error)
		go func() { done <- child.ListenAndServe() }()

		state := func() childState {
			child.mu.Lock()
			defer child.mu.Unlock()
			return child.state
		}
		for state() == childNew {
			runtime.Gosched()
		}
		if state() == childStarting {
			caught++
		}
		child.kill()
		if got := state(); got == childStarting {
			t.Fatal("killed, and is still being started")
		}
		if got, want := ExitCode(<-done), 128+int(syscall.SIGKILL); got != want {
			t.Errorf("exit code %d, want %d", got, want)
		}
	}
}

// A child that was stopped before its start is settled: a forced stop does not wait
// for it.
func TestSettledWithoutStart(t *testing.T) {
	child := &Child{Cmd: exec.Command("false")}
	if err := child.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case <-child.settled:
	default:
		t.Error("nobody knows that it will not run")
	}
}

// The Cmd is as before once the child has the sockets. In a chroot, and off Linux,
// there is no /proc/self/exe to pass them through.
func TestPassSockets(t *testing.T) {
	env := []string{fmt.Sprint("LISTEN_PID=", os.Getpid()), "LISTEN_FDS=1"}
	for _, c := range []struct {
		attr *syscall.SysProcAttr
		args []string
		pass bool
	}{
		{nil, []string{"-sh"}, runtime.GOOS == "linux"},
		{nil, nil, runtime.GOOS == "linux"},
		{&syscall.SysProcAttr{Chroot: "/"}, nil, false},
	} {
		child := &Child{Cmd: exec.Command("sh")}
		child.Cmd.Env, child.Cmd.SysProcAttr, child.Cmd.Args = env, c.attr, c.args
		path := child.Cmd.Path
		argv0 := append(c.args, path)[0] // as package os has it
		child.prepare()
		started := child.passSockets()
		if pass := child.Cmd.Path != path; pass != c.pass {
			t.Errorf("%+v: sockets pass: %v, want %v", c.attr, pass, c.pass)
		}
		if got := append(child.Cmd.Args, child.Cmd.Path)[0]; got != argv0 {
			t.Errorf("%+v: argv[0] is %q, want %q", c.attr, got, argv0)
		}
		started()
		if got := child.Cmd; got.Path != path || !slices.Equal(got.Args, c.args) || !slices.Equal(got.Env, env) || got.ExtraFiles != nil {
			t.Errorf("%+v: left %q, %q, %q, %v", c.attr, got.Path, got.Args, got.Env, got.ExtraFiles)
		}
	}
}

// The group that gets signals and the terminal is the one that the child is in.
func TestProcessGroup(t *testing.T) {
	for _, c := range []struct {
		attr syscall.SysProcAttr
		want int
	}{
		{syscall.SysProcAttr{}, 7},
		{syscall.SysProcAttr{Setpgid: true}, 7},
		{syscall.SysProcAttr{Setpgid: true, Pgid: 5}, 5},
		{syscall.SysProcAttr{Foreground: true, Pgid: 5}, 5},
		{syscall.SysProcAttr{Setsid: true, Pgid: 5}, 7},
	} {
		child := &Child{Cmd: &exec.Cmd{SysProcAttr: &c.attr, Process: &os.Process{Pid: 7}}}
		if got := child.pgid(); got != c.want {
			t.Errorf("%+v: got %d, want %d", c.attr, got, c.want)
		}
	}
}
