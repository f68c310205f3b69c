// SPDX-License-Identifier: MIT

package reaper_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/linux"
	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/reaper"
)

// inBothModes runs a helper that makes itself a subreaper, as PID 1 and as an
// ordinary process. The helper prints what went wrong.
func inBothModes(t *testing.T, helper string, args ...string) {
	t.Helper()
	t.Parallel()
	for name, command := range map[string]func(testing.TB, string, ...string) *exec.Cmd{
		"PID 1": nstest.Command, "subreaper": nstest.Child,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if out, err := command(t, helper, args...).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// A probe is a Reaper at work in a helper.
type probe struct {
	reaper.Reaper
	exits  chan reaper.Exit
	cancel context.CancelFunc
	done   chan error
	failed bool
}

func startProbe() *probe {
	p := &probe{exits: make(chan reaper.Exit, 4096), done: make(chan error, 1)}
	p.Subreaper = true
	p.OnReap = func(e reaper.Exit) { p.exits <- e }
	p.start()
	p.await("first sweep", func() bool { return p.Work().Sweeps > 0 }) // a subreaper by then
	return p
}

func (p *probe) start() {
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	go func() { p.done <- p.RunWith(ctx, time.Second) }()
}

// stop returns the helper's exit code.
func (p *probe) stop() int {
	p.cancel()
	p.check("Run", <-p.done, nil)
	if p.failed {
		return 1
	}
	return 0
}

func (p *probe) check(what string, got, want any) {
	if got != want {
		p.failed = true
		fmt.Printf("%s = %v, want %v\n", what, got, want)
	}
}

// await waits until f returns true.
func (p *probe) await(what string, f func() bool) {
	for end := time.Now().Add(far); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.check(what, fmt.Sprint("not seen in ", far), "seen")
			return
		}
	}
}

// next returns the next exit that OnReap sees. Where each sweep takes long, it may
// come a minute later, by the pace.
func (p *probe) next() (e reaper.Exit) {
	select {
	case e = <-p.exits:
	case <-time.After(far):
		p.check("exit", fmt.Sprintf("not seen in %v; zombies %v, %+v", far, zombies(), p.Work()), "seen")
	}
	return e
}

// orphan starts a process that is an orphan, and ends when close is called.
func orphan(code int) (pid int, end func()) {
	in, write, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	defer in.Close()
	cmd := role("orphans", "1", "reader", fmt.Sprint(code))
	cmd.Stdin = in
	out, err := cmd.Output()
	if err != nil {
		panic(err)
	}
	return pids(out)[0], func() { write.Close() }
}

func isZombie(pid int) bool { return inState(pid, "Z") }

func inState(pid int, state string) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") "+state+" ")
}

func TestExit(t *testing.T) { inBothModes(t, "exit") }

func init() {
	helpers["exit"] = func() int {
		p := startProbe()
		for _, code := range []int{0, 1, 3, 127, 255} {
			pid, end := orphan(code)
			end()
			p.check("exit", p.next(), reaper.Exit{PID: pid, Code: code})
		}
		for _, signal := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
			pid, end := orphan(0)
			unix.Kill(pid, signal)
			p.check("exit", p.next(), reaper.Exit{PID: pid, Code: -1, Signal: signal})
			end()
		}
		p.check("Reaped", p.Stats().Reaped, uint64(7))
		return p.stop()
	}
}

// An orphan may have died before the reaper was there.
func TestDiedBefore(t *testing.T) { inBothModes(t, "died before") }

func init() {
	helpers["died before"] = func() int {
		linux.SetSubreaper(true)
		pid, end := orphan(5)
		end()
		p := &probe{exits: make(chan reaper.Exit, 1), done: make(chan error, 1)}
		p.OnReap = func(e reaper.Exit) { p.exits <- e }
		p.await("zombie", func() bool { return isZombie(pid) })
		p.start()
		p.check("exit", p.next(), reaper.Exit{PID: pid, Code: 5})
		return p.stop()
	}
}

// A child of our own that is never waited for hides nobody, and its status
// is still there when Wait comes.
func TestHidden(t *testing.T) { inBothModes(t, "hidden") }

func init() {
	helpers["hidden"] = func() int {
		p := startProbe()
		own := role("exit", "7")
		own.Start() // on the first thread: before the orphans in every list
		p.await("own zombie", func() bool { return isZombie(own.Process.Pid) })
		for range 20 {
			pid, end := orphan(5)
			end()
			p.check("exit", p.next(), reaper.Exit{PID: pid, Code: 5})
		}
		p.check("Wait", own.Wait().Error(), "exit status 7")
		return p.stop()
	}
}

// SIGCHLDs coalesce: many die, few are heard of.
func TestTogether(t *testing.T) {
	if testing.Short() {
		t.Skip("starts hundreds of processes")
	}
	inBothModes(t, "together")
}

func init() {
	helpers["together"] = func() int {
		p := startProbe()
		in, write, _ := os.Pipe()
		cmd := role("orphans", "200", "reader", "6")
		cmd.Stdin = in
		out, err := cmd.Output()
		p.check("orphans", err, nil)
		in.Close()
		write.Close()
		want := map[int]bool{}
		for _, pid := range pids(out) {
			want[pid] = true
		}
		for range 200 {
			e := p.next()
			p.check(fmt.Sprint("known PID ", e.PID), want[e.PID], true)
			p.check("code", e.Code, 6)
			delete(want, e.PID)
		}
		p.check("left", len(zombies()), 0)
		return p.stop()
	}
}

// An owner that lets go of a dead child gives no sign. The child is found all
// the same, and then nothing is looked for any more.
func TestReleased(t *testing.T) { inBothModes(t, "released") }

func init() {
	helpers["released"] = func() int {
		p := startProbe()
		own := role("exit", "7")
		own.Start()
		pid := own.Process.Pid
		p.await("owner found", func() bool { return p.Work().Spared > 0 })
		p.check("zombie is left", isZombie(pid), true)
		own.Process.Release()
		p.check("exit", p.next(), reaper.Exit{PID: pid, Code: 7})

		// The timer that is running now is the last, at most.
		time.Sleep(100 * time.Millisecond)
		before := p.Work().Sweeps
		time.Sleep(time.Second)
		p.check("sweeps", p.Work().Sweeps, before)
		return p.stop()
	}
}

// Children of another thread that are released while they live are no
// orphans, and yet nobody's.
func TestReleasedOfOtherThread(t *testing.T) { inBothModes(t, "released of other thread") }

func init() {
	helpers["released of other thread"] = func() int {
		p := startProbe()
		started, stay := make(chan int), make(chan struct{})
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			own := role("exit", "7")
			own.Start()
			pid := own.Process.Pid
			own.Process.Release()
			started <- pid
			<-stay
		}()
		p.check("exit", p.next(), reaper.Exit{PID: <-started, Code: 7})
		close(stay)
		return p.stop()
	}
}

// A child without pidfd, of a thread that lives, is no orphan and not taken.
func TestForkExec(t *testing.T) { inBothModes(t, "fork exec") }

func init() {
	helpers["fork exec"] = func() int {
		p := &probe{exits: make(chan reaper.Exit, 10), done: make(chan error, 1)}
		p.Subreaper = true
		p.OnReap = func(e reaper.Exit) { p.exits <- e }
		var ctx context.Context
		ctx, p.cancel = context.WithCancel(context.Background())
		go func() { p.done <- p.Run(ctx) }()

		started, wait, waited := make(chan int), make(chan struct{}), make(chan struct{})
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			cmd := role("exit", "7")
			pid, err := syscall.ForkExec(cmd.Path, cmd.Args, nil)
			p.check("ForkExec", err, nil)
			started <- pid
			<-wait
			var status syscall.WaitStatus
			_, err = syscall.Wait4(pid, &status, 0, nil)
			p.check("Wait4", err, nil)
			p.check("code", status.ExitStatus(), 7)
			close(waited)
		}()
		own := <-started
		p.await("own zombie", func() bool { return isZombie(own) })
		for range 20 {
			pid, end := orphan(5)
			end()
			p.check("exit", p.next(), reaper.Exit{PID: pid, Code: 5})
		}
		close(wait)
		<-waited
		return p.stop()
	}
}

// A process object that is held on an orphan is an owner like any other.
func TestFindProcess(t *testing.T) { inBothModes(t, "find process") }

func init() {
	helpers["find process"] = func() int {
		p := startProbe()
		pid, end := orphan(9)
		object, err := os.FindProcess(pid)
		p.check("FindProcess", err, nil)
		end()
		p.await("owner found", func() bool { return p.Work().Spared > 0 })
		state, err := object.Wait()
		p.check("Wait", err, nil)
		p.check("code", state.ExitCode(), 9)
		p.check("Reaped", p.Stats().Reaped, uint64(0))
		return p.stop()
	}
}

// Whatever number a pidfd has, it is seen.
func TestHighDescriptor(t *testing.T) { inBothModes(t, "high descriptor") }

func init() {
	helpers["high descriptor"] = func() int {
		p := startProbe()
		for _, number := range []int{100, 700, 900} {
			own := role("reader", "7")
			in, _ := own.StdinPipe()
			fd := -1
			own.SysProcAttr = &unix.SysProcAttr{PidFD: &fd}
			own.Start()
			pid := own.Process.Pid
			p.check("dup3", unix.Dup3(fd, number, unix.O_CLOEXEC), nil)
			unix.Close(fd)
			own.Process.Release()
			spared := p.Work().Spared
			in.Close()
			p.await("owner found", func() bool { return p.Work().Spared > spared })
			p.check("zombie is left", isZombie(pid), true)
			unix.Close(number)
			p.check("exit", p.next(), reaper.Exit{PID: pid, Code: 7})
		}
		return p.stop()
	}
}

// Nothing that OnReap does keeps orphans from being collected.
func TestSlowCallback(t *testing.T) { inBothModes(t, "slow callback") }

func init() {
	helpers["slow callback"] = func() int {
		block := make(chan struct{})
		p := &probe{done: make(chan error, 1)}
		p.Subreaper = true
		p.OnReap = func(reaper.Exit) { <-block }
		p.start()
		p.await("subreaper", func() bool { return p.Work().Sweeps > 0 })
		for range 10 {
			_, end := orphan(1)
			end()
		}
		p.await("all collected", func() bool { return p.Stats().Reaped == 10 })
		code := p.stop()
		close(block)
		return code
	}
}

// Without /proc, and with that of another PID namespace: an error that says
// so, and nobody's status taken.
func TestProc(t *testing.T) {
	for _, c := range []struct {
		name string
		cmd  *exec.Cmd
		want string
	}{
		{"none", nstest.Command(t, "no proc"), "not mounted"},
		{"of another namespace", nstest.CommandWithHostProc(t, "no proc", "as it is"), "another PID namespace"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := c.cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			// A log record and an error.
			if got := strings.Count(string(out), c.want); got != 2 {
				t.Errorf("%q occurs %d times, want 2:\n%s", c.want, got, out)
			}
			if !strings.HasSuffix(string(out), "\n<nil> true true\n") {
				t.Errorf("want Terminate to end the sleeper and not to fail, before the deadline:\n%s", out)
			}
		})
	}
}

func init() {
	helpers["no proc"] = func() int {
		own, sleeper := role("exit", "7"), role("sleeper", "exit", "3")
		own.Start()
		if len(os.Args) == 1 {
			if err := unix.Mount("none", "/proc", "tmpfs", 0, ""); err != nil {
				fmt.Println(err)
				return 1
			}
		}
		fmt.Println(new(reaper.Reaper).Run(context.Background()))
		if err := own.Wait(); err == nil || err.Error() != "exit status 7" {
			fmt.Println("Wait:", err)
			return 1
		}
		ready, _ := sleeper.StdoutPipe()
		sleeper.Start()
		ready.Read(make([]byte, 1))
		ctx, cancel := within(far)
		defer cancel()
		err := reaper.Terminate(ctx)
		fmt.Println(err, ctx.Err() == nil, fmt.Sprint(sleeper.Wait()) == "exit status 3")
		return 0
	}
}

// What a process is that has no orphans to expect: quiet.
func TestOrdinaryProcess(t *testing.T) {
	// With the first pipe the runtime opens its poller's descriptors, for good.
	if in, out, err := os.Pipe(); err == nil {
		in.Close()
		out.Close()
	}
	fdsBefore := countDescriptors(t)
	ctx, cancel := context.WithCancel(t.Context())
	var r reaper.Reaper
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	for r.Work().Sweeps == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := new(reaper.Reaper).Run(ctx); err == nil || !strings.Contains(err.Error(), "running") {
		t.Errorf("a second Run = %v, want an error", err)
	}
	cmd := role("exit", "7")
	if err := cmd.Run(); err == nil || err.Error() != "exit status 7" {
		t.Errorf("Run = %v, want exit status 7", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if got := countDescriptors(t); got != fdsBefore {
		t.Errorf("%d descriptors after, %d before", got, fdsBefore)
	}
}

// Run ends, and its thread too, while it waits for the death of a child that
// lives on. What it starts to that end is not to be seen.
func TestEndAsleep(t *testing.T) { inBothModes(t, "end asleep") }

func init() {
	helpers["end asleep"] = func() int {
		child := role("block")
		child.Start()
		defer child.Wait()
		defer child.Process.Kill()
		before := goleak.IgnoreCurrent()
		for range 5 {
			p := startProbe()
			pid, end := orphan(3)
			end()
			p.check("exit", p.next(), reaper.Exit{PID: pid, Code: 3})
			p.await("sleep", reaper.Asleep) // an orphan is what comes before
			p.stop()
			p.check("exits more", len(p.exits), 0)
			if err := goleak.Find(before); err != nil {
				p.check("leak", err, nil)
			}
			if p.failed {
				return 1
			}
		}
		return 0
	}
}

func countDescriptors(t *testing.T) int {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(dir)
}

// The state of being a subreaper is restored, and what was there before is
// made use of.
func TestSubreaperState(t *testing.T) {
	if out, err := nstest.Child(t, "subreaper state").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

func init() {
	helpers["subreaper state"] = func() int {
		state := func() bool {
			on, _ := linux.IsSubreaper()
			return on
		}
		p := startProbe()
		p.await("subreaper", func() bool { return state() && p.Work().Sweeps > 0 })
		code := p.stop()
		p.check("subreaper after Run", state(), false)

		linux.SetSubreaper(true)
		p.Subreaper = false // by inheritance
		p.start()
		pid, end := orphan(4)
		end()
		p.check("exit", p.next(), reaper.Exit{PID: pid, Code: 4})
		code |= p.stop()
		p.check("subreaper after Run", state(), true)
		return code
	}
}

// A process that waits for nothing does nothing: no thread of it is woken.
func TestIdle(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 6 s")
	}
	t.Parallel()
	cmd := nstest.Command(t, "idle")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ready [1]byte
	out.Read(ready[:])

	// The runtime's own threads come to rest first.
	before := contextSwitches(t, cmd.Process.Pid)
	for range 100 {
		time.Sleep(200 * time.Millisecond)
		now := contextSwitches(t, cmd.Process.Pid)
		if now == before {
			break
		}
		before = now
	}
	time.Sleep(5 * time.Second)
	if got := contextSwitches(t, cmd.Process.Pid) - before; got != 0 {
		t.Errorf("%d voluntary context switches in 5 s, want 0", got)
	}
}

func init() {
	helpers["idle"] = func() int {
		exits := make(chan reaper.Exit, 1)
		r := reaper.Reaper{OnReap: func(e reaper.Exit) { exits <- e }}
		go r.Run(context.Background()) // with the timing of programs, not of tests
		_, end := orphan(4)            // it has been at work
		end()
		<-exits
		fmt.Print("x")
		select {}
	}
}

func contextSwitches(t *testing.T, pid int) (n int) {
	t.Helper()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", pid, thread.Name()))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
		number, _, _ := strings.Cut(rest, "\n")
		n += atoi(strings.TrimSpace(number))
	}
	return n
}

// Many sweeps, many commands, Terminate and Stats, all at once, for -race.
func TestConcurrent(t *testing.T) {
	if testing.Short() {
		t.Skip("starts hundreds of processes")
	}
	inBothModes(t, "concurrent")
}

func init() {
	helpers["concurrent"] = func() int {
		p := startProbe()
		var wg sync.WaitGroup
		var stop atomic.Bool
		for range 4 {
			wg.Go(func() {
				for range 25 {
					cmd := role("exit", "7")
					if err := cmd.Run(); err == nil || err.Error() != "exit status 7" &&
						err.Error() != "signal: terminated" && err.Error() != "signal: killed" {
						fmt.Println(err)
					}
				}
			})
		}
		wg.Go(func() {
			for !stop.Load() {
				p.Stats()
				runtime.Gosched()
			}
		})
		for range 10 {
			// Others are started meanwhile, so some may be left.
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			reaper.Terminate(ctx)
			cancel()
		}
		stop.Store(true)
		wg.Wait()
		return p.stop()
	}
}
