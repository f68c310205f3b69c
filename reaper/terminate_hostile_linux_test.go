// SPDX-License-Identifier: MIT

package reaper_test

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/internal/term/termtest"
	"github.com/entrypoint-go/entrypoint/reaper"
)

// checkTerminate is a call of Terminate that should return nil before the
// deadline, which is far off.
func checkTerminate(p *probe) {
	ctx, cancel := within(far)
	defer cancel()
	p.check("Terminate", reaper.Terminate(ctx), nil)
	p.check("before the deadline", ctx.Err(), nil)
}

func result(p *probe) int {
	if p.failed {
		return 1
	}
	return 0
}

// Processes of another user are named once, and not waited for: as PID 1, as a
// parent, and where /proc hides them (hidepid).
func TestTerminateNotPermitted(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root to start processes of two users")
	}
	for name, c := range map[string]struct {
		command func(testing.TB, string, ...string) *exec.Cmd
		how     string
	}{
		"PID 1":         {nstest.Command, ""},
		"PID 1, hidden": {nstest.Command, "hidden"},
		"parent":        {nstest.Child, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if out, err := c.command(t, "terminate another user's", c.how).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func init() {
	helpers["terminate another user's"] = func() int {
		p, log := &probe{}, new(logBuffer)
		slog.SetDefault(slog.New(slog.NewTextHandler(log, nil)))
		roots := sleeper(p, false, "exit", "3")
		defer unix.Kill(roots, unix.SIGKILL)
		named := fmt.Sprintf("pid=%d name=", roots)
		if os.Args[1] == "hidden" {
			p.check("mount", unix.Mount("proc", "/proc", "proc", unix.MS_REMOUNT, "hidepid=2"), nil)
			named = fmt.Sprintf("pid=%d\n", roots)
		}
		const nobody = 65534
		owned := role("sleeper", "exit", "7")
		owned.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		owned.Path = "/proc/self/exe" // others may not read go test's directory
		ready, _ := owned.StdoutPipe()
		p.check("start", owned.Start(), nil)
		bufio.NewReader(ready).ReadString('\n')
		p.check("setgroups", syscall.Setgroups(nil), nil)
		p.check("setresgid", syscall.Setresgid(nobody, nobody, 0), nil)
		p.check("setresuid", syscall.Setresuid(nobody, nobody, 0), nil)

		checkTerminate(p)
		p.check("status of the own", fmt.Sprint(owned.Wait()), "exit status 7")
		p.check("log", log.count("may not signal"), 1)
		p.check("log names it", log.count(named), 1)
		p.check("Terminate without time", reaper.TerminateAtOnce(), nil) // looks often enough all the same
		p.check("setresuid", syscall.Setresuid(0, 0, 0), nil)
		p.check("root's lives", dead(roots), false)
		return result(p)
	}
}

// With no descriptor left, what is to end is ended all the same.
func TestTerminateNoDescriptor(t *testing.T) { inBothModes(t, "terminate without descriptors") }

func init() {
	helpers["terminate without descriptors"] = func() int {
		p, _ := loggedProbe() // two orphans that die together are one pidfd too many, which is logged
		pids := []int{sleeper(p, false, "exit", "3"), sleeper(p, true, "exit", "3"), sleeper(p, true, "exit,stop", "3")}
		taken := fillTable(0)
		checkTerminate(p)
		closeAll(taken)
		for _, pid := range pids {
			p.check("dead", dead(pid), true)
		}
		return p.stop()
	}
}

// An interactive shell ignores SIGTERM, and ends when its terminal hangs up.
// Others with a terminal get SIGTERM alone, and may take their time.
func TestTerminateShell(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]func(testing.TB, string, ...string) *exec.Cmd{
		"PID 1": nstest.Command, "descendants": nstest.Child,
	} {
		t.Run(name, func(t *testing.T) {
			_, terminal := termtest.Open(t)
			cmd := command(t, "terminate a shell")
			cmd.ExtraFiles = []*os.File{terminal}
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func init() {
	helpers["terminate a shell"] = func() int {
		p := &probe{}
		start := func(how string) *exec.Cmd {
			cmd := role("sleeper", how, "7")
			cmd.Stdin = os.NewFile(3, "terminal")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			ready, _ := cmd.StdoutPipe()
			p.check("start", cmd.Start(), nil)
			bufio.NewReader(ready).ReadString('\n')
			return cmd
		}
		shell := start("ignore")
		checkTerminate(p)
		p.check("end of the shell", fmt.Sprint(shell.Wait()), "signal: hangup")
		other := start("exit")
		checkTerminate(p)
		p.check("end of another", fmt.Sprint(other.Wait()), "exit status 7")
		return result(p)
	}
}

// A process that this one traces, and has not started, is neither ended nor
// waited for.
func TestTerminateTracee(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root may trace what is no descendant")
	}
	sibling := nstest.Child(t, "bystander")
	out, _ := sibling.StdoutPipe()
	if err := sibling.Start(); err != nil {
		t.Fatal(err)
	}
	bufio.NewReader(out).ReadString('\n')
	if out, err := nstest.Child(t, "terminate beside a tracee", fmt.Sprint(sibling.Process.Pid)).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
	if err := sibling.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("bystander: %v", err)
	}
}

func init() {
	helpers["terminate beside a tracee"] = func() int {
		p := &probe{}
		runtime.LockOSThread() // a tracee belongs to a thread
		const seize = 0x4206
		_, _, errno := unix.Syscall6(unix.SYS_PTRACE, seize, uintptr(atoi(os.Args[1])), 0, 0, 0, 0)
		p.check("PTRACE_SEIZE", errno, unix.Errno(0))
		pid := sleeper(p, false, "exit", "3")
		checkTerminate(p)
		p.check("dead", dead(pid), true)
		return result(p)
	}
}

// A child whose end sends no SIGCHLD, as clone(2) can make it, is waited for.
func TestTerminateCloneChild(t *testing.T) { inBothModes(t, "terminate a clone child") }

func init() {
	helpers["terminate a clone child"] = func() int {
		p := &probe{}
		pid := cloneChild()
		ctx, cancel := within(300 * time.Millisecond) // it blocks SIGTERM
		defer cancel()
		p.check("Terminate", reaper.TerminateSlowly(ctx), nil)
		p.check("dead", dead(pid), true)
		unix.Kill(pid, unix.SIGKILL)
		return result(p)
	}
}

// cloneChild forks with exit signal 0. The child may do nothing but make system
// calls: it blocks all signals and sleeps.
//
//go:norace
func cloneChild() int {
	all := ^uint64(0)
	set := uintptr(unsafe.Pointer(&all))
	pid, _, _ := unix.RawSyscall6(unix.SYS_CLONE, 0, 0, 0, 0, 0, 0)
	for pid == 0 {
		unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, 0, set, 0, 8, 0, 0)
		unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
	return int(pid)
}

// While Terminate waits, it hardly uses the processor.
func TestTerminateWaitsQuietly(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
	out, err := nstest.Command(t, "terminate quietly").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "" {
		t.Errorf("%v\n%s", err, out)
	}
}

func init() {
	helpers["terminate quietly"] = func() int {
		p := &probe{}
		for range 20 {
			sleeper(p, false, "ignore", "3")
		}
		var before, after unix.Rusage
		unix.Getrusage(unix.RUSAGE_SELF, &before)
		ctx, cancel := within(3 * time.Second)
		defer cancel()
		start := time.Now()
		reaper.TerminateSlowly(ctx)
		took := time.Since(start)
		unix.Getrusage(unix.RUSAGE_SELF, &after)
		used := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
		if used > took/5 {
			p.check(fmt.Sprint("processor time in ", took), used, "a fifth of it at most")
		}
		return result(p)
	}
}
