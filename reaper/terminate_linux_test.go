// SPDX-License-Identifier: MIT

package reaper_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/linux"
	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/reaper"
)

// sleepers starts a sleeper as a child, or as an orphan, and returns its PID
// when it is ready. An orphan may be one only after the call.
func sleeper(p *probe, orphan bool, how, code string) int {
	cmd := role("sleeper", how, code)
	if orphan {
		cmd = role("orphans", "1", "sleeper", how, code)
	}
	out, write, err := os.Pipe()
	p.check("pipe", err, nil)
	defer out.Close()
	cmd.Stdout = write
	if orphan {
		// The maker's own output is the PID too, ready or not; take the second.
		cmd.Args = []string{"orphan on stdout", how, code}
	}
	p.check("start", cmd.Start(), nil)
	write.Close()
	line, err := bufio.NewReader(out).ReadString('\n')
	p.check("ready", err, nil)
	if orphan {
		cmd.Wait()
	} else {
		go cmd.Wait()
	}
	pid := atoi(strings.TrimSpace(line))
	if strings.Contains(how, "stop") {
		p.await("stopped", func() bool { return inState(pid, "T") })
	}
	return pid
}

func init() {
	roles["orphan on stdout"] = func() int {
		cmd := role("sleeper", os.Args[1], os.Args[2])
		cmd.Stdout = os.Stdout
		if cmd.Start() != nil {
			return 1
		}
		return 0
	}
}

func dead(pid int) bool { return unix.Kill(pid, 0) == unix.ESRCH || isZombie(pid) }

// far is a deadline for what takes a moment: a crowd of other processes may use the
// processors meanwhile.
const far = 90 * time.Second

func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// Whoever is left: gets SIGTERM, is waited for, gets SIGKILL.
func TestTerminate(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]func(testing.TB, string, ...string) *exec.Cmd{
		"PID 1": nstest.Command, "descendants": nstest.Child,
	} {
		for _, with := range []string{"reaper", "none"} {
			t.Run(name+", "+with, func(t *testing.T) {
				t.Parallel()
				if out, err := command(t, "terminate", with).CombinedOutput(); err != nil || len(out) > 0 {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}

func init() {
	helpers["terminate"] = func() int {
		p := &probe{exits: make(chan reaper.Exit, 4096), done: make(chan error, 1), cancel: func() {}}
		if os.Args[1] == "reaper" {
			p = startProbe()
			p.await("subreaper", func() bool { return p.Work().Sweeps > 0 })
		} else {
			p.done <- nil
			linux.SetSubreaper(true) // for the orphans below
		}
		ctx, cancel := within(far)
		defer cancel()

		// Nobody.
		p.check("Terminate without processes", reaper.TerminateSlowly(ctx), nil)

		// Willing ones end by SIGTERM, long before the deadline: children,
		// orphans, other sessions, stopped ones, those with an owner.
		owned := role("sleeper", "exit", "7")
		out, _ := owned.StdoutPipe()
		owned.Start()
		bufio.NewReader(out).ReadString('\n')
		all := []int{
			sleeper(p, false, "exit", "3"),
			sleeper(p, true, "exit", "3"),
			sleeper(p, true, "exit,setsid", "3"),
			sleeper(p, true, "exit,stop", "3"),
		}
		start := time.Now()
		p.check("Terminate", reaper.TerminateSlowly(ctx), nil)
		p.check("ended early", time.Since(start) < far/2, true)
		err := owned.Wait()
		p.check("status of the owned", fmt.Sprint(err), "exit status 7")
		for _, pid := range all {
			p.check("dead", dead(pid), true)
		}

		// The deadline is for the unwilling, and for what they leave.
		all = []int{
			sleeper(p, false, "ignore", "3"),
			sleeper(p, true, "ignore,setsid", "3"),
			sleeper(p, true, "ignore,stop", "3"),
			sleeper(p, true, "fork", "3"),
		}
		short, cancel := within(500 * time.Millisecond)
		defer cancel()
		p.check("Terminate", reaper.TerminateSlowly(short), nil)
		p.check("deadline has passed", errors.Is(short.Err(), context.DeadlineExceeded), true)
		for _, pid := range all {
			p.check("dead", dead(pid), true)
		}
		if os.Args[1] != "bare" { // where zombies stay for a while
			p.await("no zombies", func() bool { return len(zombies()) == 0 })
		}

		// A deadline in the past.
		pid := sleeper(p, true, "ignore", "3")
		p.check("Terminate", reaper.TerminateSlowly(short), nil)
		p.check("dead", dead(pid), true)
		return p.stop()
	}
}

// A zombie whose owner has not waited yet is not waited for, and not taken.
func TestTerminateSparesZombies(t *testing.T) { inBothModes(t, "terminate spares") }

func init() {
	helpers["terminate spares"] = func() int {
		p := &probe{}
		own := role("exit", "7")
		own.Start()
		p.await("own zombie", func() bool { return isZombie(own.Process.Pid) })
		ctx, cancel := within(far)
		defer cancel()
		p.check("Terminate", reaper.TerminateSlowly(ctx), nil)
		p.check("before the deadline", ctx.Err(), nil)
		p.check("Wait", fmt.Sprint(own.Wait()), "exit status 7")
		if p.failed {
			return 1
		}
		return 0
	}
}

// A grandchild whose parent ends first does not escape, although nobody has
// made this process a subreaper.
func TestTerminateAdopts(t *testing.T) {
	t.Parallel()
	if out, err := nstest.Child(t, "terminate adopts").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

func init() {
	// nest: starts a sleeper that ignores SIGTERM, and ends by SIGTERM itself.
	roles["nest"] = func() int {
		cmd := role("sleeper", "ignore", "0")
		cmd.Stdout = os.Stdout
		cmd.Start()
		time.Sleep(time.Hour)
		return 0
	}
	helpers["terminate adopts"] = func() int {
		p := &probe{}
		nest := role("nest")
		out, _ := nest.StdoutPipe()
		p.check("start", nest.Start(), nil)
		line, _ := bufio.NewReader(out).ReadString('\n')
		pid := atoi(strings.TrimSpace(line))
		ctx, cancel := within(500 * time.Millisecond)
		defer cancel()
		p.check("Terminate", reaper.TerminateSlowly(ctx), nil)
		p.check("dead", dead(pid), true)
		unix.Kill(pid, unix.SIGKILL) // where it has escaped
		if p.failed {
			return 1
		}
		return 0
	}
}

// A process that forks as fast as it can, each child doing the same.
func TestTerminateForkers(t *testing.T) { inBothModes(t, "terminate forkers") }

func init() {
	// forker: starts its successor and ends, over and over.
	roles["forker"] = func() int {
		role("forker").Start()
		return 0
	}
	helpers["terminate forkers"] = func() int {
		p := &probe{}
		linux.SetSubreaper(true)
		for range 3 {
			role("forker").Start()
		}
		// On a busy machine they may win a round.
		err := errors.New("not tried")
		for range 10 {
			ctx, cancel := within(100 * time.Millisecond)
			if err = reaper.Terminate(ctx); err == nil {
				cancel()
				break
			}
			cancel()
		}
		p.check("Terminate", err, nil)
		p.check("children that live", unix.Waitid(unix.P_ALL, 0, nil, unix.WSTOPPED|unix.WNOHANG, nil), error(unix.ECHILD))
		if p.failed {
			return 1
		}
		return 0
	}
}

// Elsewhere than in PID 1 nobody but descendants is touched.
func TestTerminateLeavesOthers(t *testing.T) {
	sibling := nstest.Child(t, "bystander")
	out, _ := sibling.StdoutPipe()
	if err := sibling.Start(); err != nil {
		t.Fatal(err)
	}
	bufio.NewReader(out).ReadString('\n')
	if out, err := nstest.Child(t, "terminate nobody").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
	if err := sibling.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("bystander: %v", err)
	}
}

func init() {
	helpers["bystander"] = func() int { fmt.Println("ready"); time.Sleep(time.Hour); return 0 }
	helpers["terminate nobody"] = func() int {
		ctx, cancel := within(100 * time.Millisecond)
		defer cancel()
		if err := reaper.TerminateSlowly(ctx); err != nil {
			fmt.Println(err)
		}
		return 0
	}
}

// A process that has entered the PID namespace from outside is ended too. Its
// parent is not in the namespace, so its end sends no SIGCHLD to PID 1.
func TestTerminateForeign(t *testing.T) {
	t.Parallel()
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		t.Skip("no nsenter")
	}
	if os.Getuid() != 0 {
		t.Skip("only root may enter the namespace without its user namespace")
	}
	cmd := nstest.Command(t, "terminate foreign")
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	foreign := exec.Command(nsenter, "-t", fmt.Sprint(cmd.Process.Pid), "-p", "-m", "sh", "-c",
		`trap "exec sleep 0.5" TERM; echo ready; while :; do read line; done`)
	stdin, _ := foreign.StdinPipe() // which never has a line
	defer stdin.Close()
	ready, _ := foreign.StdoutPipe()
	if err := foreign.Start(); err != nil {
		t.Fatal(err)
	}
	bufio.NewReader(ready).ReadString('\n')
	in.Close()
	line, _ := bufio.NewReader(out).ReadString('\n')
	if got, want := strings.TrimSpace(line), "<nil> before the deadline: true"; got != want {
		t.Errorf("Terminate = %q, want %q", got, want)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if err := foreign.Wait(); err != nil { // nsenter ends as its child does
		t.Errorf("process from outside: %v, want its own end, in its own time", err)
	}
}

func init() {
	helpers["terminate foreign"] = func() int {
		os.Stdin.Read(make([]byte, 1))
		ctx, cancel := within(far)
		defer cancel()
		err := reaper.Terminate(ctx)
		fmt.Println(err, "before the deadline:", ctx.Err() == nil)
		return 0
	}
}
