// SPDX-License-Identifier: MIT

package reaper_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/reaper"
)

// A logBuffer counts what was logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) count(what string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), what)
}

// loggedProbe is startProbe with a log.
func loggedProbe() (*probe, *logBuffer) {
	p, log := newLoggedProbe()
	p.start()
	p.await("first sweep", func() bool { return p.Work().Sweeps > 0 })
	return p, log
}

func newLoggedProbe() (*probe, *logBuffer) {
	log := new(logBuffer)
	p := &probe{exits: make(chan reaper.Exit, 4096), done: make(chan error, 1)}
	p.Subreaper = true
	p.OnReap = func(e reaper.Exit) { p.exits <- e }
	p.Logger = slog.New(slog.NewTextHandler(log, nil))
	return p, log
}

// Orphans are collected when SIGCHLD does not come any more, and that is said
// once.
func TestNoSIGCHLD(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, how := range []string{"reset", "reset of all", "foreign handler"} {
		t.Run(how, func(t *testing.T) { inBothModes(t, "no SIGCHLD", how) })
	}
}

func init() {
	helpers["no SIGCHLD"] = func() int {
		p, log := loggedProbe()
		role("exit", "0").Run() // the next death is awaited by signal
		orphans := 20
		lose := func() { signal.Reset(unix.SIGCHLD) }
		switch os.Args[1] {
		case "reset":
		case "reset of all":
			lose = func() { signal.Reset() }
		default: // the runtime's handler is replaced, as C code can do
			orphans = 5 // each a second late
			lose = func() {
				var byDefault [16]uintptr
				unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0)
			}
		}
		lose()
		for range orphans {
			pid, end := orphan(5)
			if log.count("no SIGCHLD came") == 0 {
				lose() // once more: a look while all live asks for the signal again
			}
			end()
			p.check("exit", p.next(), reaper.Exit{PID: pid, Code: 5})
			if p.failed {
				break
			}
		}
		p.check("log", log.count("no SIGCHLD came"), 1)
		return p.stop()
	}
}

// Run ends although a fork hangs, of a program on a dead file system for
// instance, and leaves no goroutine behind.
func TestEndBesideHangingFork(t *testing.T) { inBothModes(t, "hanging fork") }

func init() {
	helpers["hanging fork"] = func() int {
		child := role("block")
		child.Start()
		defer child.Wait()
		defer child.Process.Kill()
		before := goleak.IgnoreCurrent()
		p := startProbe()
		pid, end := orphan(3)
		end()
		p.check("exit", p.next(), reaper.Exit{PID: pid, Code: 3})
		p.await("sleep", reaper.Asleep)
		syscall.ForkLock.Lock()
		defer syscall.ForkLock.Unlock()
		p.cancel()
		select {
		case err := <-p.done:
			p.check("Run", err, nil)
		case <-time.After(far):
			p.check("Run", fmt.Sprint("not returned after ", far), nil)
		}
		if err := goleak.Find(before); err != nil {
			p.check("leak", err, nil)
		}
		if p.failed {
			return 1
		}
		return 0
	}
}

// Started and stopped many times, asleep in the kernel or not, a Reaper
// leaves no thread, no goroutine and no descriptor behind.
func TestStartStop(t *testing.T) {
	t.Parallel()
	if out, err := nstest.Child(t, "start stop", fmt.Sprint(nstest.Rounds(150, 300, 1000))).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

func init() {
	helpers["start stop"] = func() int {
		count := func(dir string) int {
			entries, _ := os.ReadDir("/proc/self/" + dir)
			return len(entries)
		}
		child := role("block")
		child.Start()
		defer child.Wait()
		defer child.Process.Kill()
		var goroutines goleak.Option
		var threads, descriptors int
		for i := range atoi(os.Args[1]) {
			if i == 100 { // the runtime has the threads that it needs
				goroutines, threads, descriptors = goleak.IgnoreCurrent(), count("task"), count("fd")
			}
			p := startProbe()
			if i%10 == 0 {
				pid, end := orphan(3)
				end()
				p.check("exit", p.next(), reaper.Exit{PID: pid, Code: 3})
				p.await("sleep", reaper.Asleep)
			}
			if p.stop() != 0 {
				return 1
			}
		}
		var p probe
		if err := goleak.Find(goroutines); err != nil {
			p.check("goroutines", err, nil)
		}
		p.check("descriptors", count("fd"), descriptors)
		// The runtime may start some at any time.
		if got := count("task"); got > threads+5 {
			p.check("threads", got, fmt.Sprint("about ", threads))
		}
		if p.failed {
			return 1
		}
		return 0
	}
}

// A seccomp filter that is installed while Run runs makes it go on as where
// there are no pidfds, and is logged once. Owners' children are left to them.
func TestRefusedLater(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"pidfd_open", "waitid"} {
		t.Run(call, func(t *testing.T) { inBothModes(t, "refused later", call) })
	}
}

func init() {
	helpers["refused later"] = func() int {
		p, log := loggedProbe()
		p.check("first sweep", p.Work().Sweeps > 0, true)
		ends := map[int]func(){}
		for range 20 {
			pid, end := orphan(5)
			ends[pid] = end
		}
		killed, end := orphan(0)
		defer end()
		own := role("exit", "7")
		number := uint32(unix.SYS_PIDFD_OPEN)
		if os.Args[1] == "waitid" {
			number = unix.SYS_WAITID
		} else {
			own.Start()
		}
		p.check("filter", refuseEverywhere(number), nil)
		for _, end := range ends {
			end()
		}
		for range 20 {
			e := p.next()
			p.check(fmt.Sprint("known PID ", e.PID), ends[e.PID] != nil, true)
			p.check("code", e.Code, 5)
			if p.failed {
				break
			}
		}
		unix.Kill(killed, unix.SIGKILL)
		p.check("exit", p.next(), reaper.Exit{PID: killed, Code: -1, Signal: unix.SIGKILL})
		p.check("log", log.count("refuses a system call"), 1)
		if own.Process != nil { // the first sweeps could have had it, and it is old enough
			p.check("Wait", fmt.Sprint(own.Wait()), "exit status 7")
		}
		return p.stop()
	}
}

// A log that blocks holds up neither the Reaper nor Terminate.
func TestBlockedLog(t *testing.T) { inBothModes(t, "blocked log") }

// blocking is a log that never returns.
type blocking struct{ slog.Handler }

func (blocking) Handle(context.Context, slog.Record) error { select {} }

func init() {
	helpers["blocked log"] = func() int {
		p := &probe{exits: make(chan reaper.Exit, 4096), done: make(chan error, 1)}
		p.Subreaper = true
		p.OnReap = func(e reaper.Exit) { p.exits <- e }
		p.Logger = slog.New(blocking{slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})})
		p.start()
		p.await("first sweep", func() bool { return p.Work().Sweeps > 0 })
		pid, end := orphan(5)
		p.check("filter", refuseEverywhere(unix.SYS_PIDFD_OPEN), nil) // which is logged
		end()
		p.check("exit", p.next(), reaper.Exit{PID: pid, Code: 5})
		pid = sleeper(p, false, "exit", "3")
		checkTerminate(p)
		p.check("dead", dead(pid), true)
		return p.stop()
	}
}

// refuseEverywhere makes a system call fail with EPERM in all threads.
func refuseEverywhere(call uint32) error {
	filter := refusal(call)
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	return nil
}

// Where the kernel lists no children, all processes are examined each time. The
// sweeps take at most 1 % of a processor all the same.
func TestBoundWithoutChildrenFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
	if out, err := nstest.Command(t, "no children files").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

func init() {
	helpers["no children files"] = func() int {
		if err := unix.Mount("none", "/proc/1/task", "tmpfs", 0, ""); err != nil {
			fmt.Println(err)
			return 1
		}
		p, log := loggedProbe()
		p.check("log", log.count("no /proc/<pid>/task/<tid>/children"), 1)
		for range 100 { // to be examined; they end with the namespace
			exec.Command("sleep", "1000").Start()
		}
		late := exec.Command("true") // with a zombie there is something to look for
		late.Start()
		p.await("zombie", func() bool { return isZombie(late.Process.Pid) })
		before, start := p.Work(), time.Now()
		last, longest := before, time.Duration(0)
		for time.Since(start) < 2*time.Second {
			exec.Command("true").Run()
			now := p.Work()
			last, longest = now, max(longest, now.Busy-last.Busy)
		}
		took := time.Since(start)
		late.Wait()
		busy, sweeps := last.Busy-before.Busy, last.Sweeps-before.Sweeps
		// A sweep is paid for by the rest behind it, and what is lent at the start.
		allowed := took/100 + 2*longest + 5*time.Millisecond
		if busy > allowed {
			p.check("processor time of the sweeps", fmt.Sprint(busy, " in ", sweeps), fmt.Sprint("at most ", allowed, " of ", took))
		}
		return p.stop()
	}
}
