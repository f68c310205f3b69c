// SPDX-License-Identifier: MIT

package reaper_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/linux"
	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/reaper"
)

// fillTable takes all descriptors but left of them. It returns those that it took.
func fillTable(left int) (taken []int) {
	<-time.After(0) // for its first timer the runtime opens descriptors of its own
	unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64})
	taken = nstest.TakeDescriptors()
	for range left {
		last := len(taken) - 1
		unix.Close(taken[last])
		taken = taken[:last]
	}
	return taken
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// awaitDead waits for the death of a child, and leaves it a zombie. It needs no
// descriptor.
func awaitDead(p *probe, pid int) {
	p.await("death", func() bool { return linux.Peek(unix.P_PID, pid) == pid })
}

// Where no descriptor is left, orphans are collected one by one, that is said once,
// and children of an exec.Cmd are left to it as ever.
func TestNoDescriptorLeft(t *testing.T) {
	t.Parallel()
	out, err := nstest.Child(t, "no descriptor").CombinedOutput()
	if err != nil || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), "no descriptor left") {
		t.Errorf("got %v, want success and one log record\n%s", err, out)
	}
}

func init() {
	helpers["no descriptor"] = func() int {
		p := startProbe()
		own := role("sleeper", "exit", "7")
		ready, _ := own.StdoutPipe()
		own.Start()
		ready.Read(make([]byte, 1))
		living := map[int]bool{}
		for range 5 {
			pid, end := orphan(0)
			defer end()
			living[pid] = true
		}
		spared := p.Work().Spared
		taken := fillTable(0)
		defer closeAll(taken)

		own.Process.Signal(unix.SIGTERM)
		awaitDead(p, own.Process.Pid)
		for pid := range living {
			unix.Kill(pid, unix.SIGKILL)
		}
		for range living {
			e := p.next()
			p.check(fmt.Sprint("known PID ", e.PID), living[e.PID], true)
			p.check("signal", e.Signal, os.Signal(unix.SIGKILL))
			if p.failed {
				return 1
			}
		}
		p.check("own child seen", p.Work().Spared > spared, true)
		_, err := unix.Dup(0)
		p.check("table", err, unix.EMFILE) // the reserved descriptor is taken back
		p.check("Wait", fmt.Sprint(own.Wait()), "exit status 7")
		return p.stop()
	}
}

// Run that begins with too few descriptors waits for some. It takes their want
// for nothing else: neither it nor package os believes then that there are no pidfds.
func TestNoDescriptorAtStart(t *testing.T) {
	t.Parallel()
	for left := range 5 {
		t.Run(fmt.Sprint(left, " left"), func(t *testing.T) {
			t.Parallel()
			out, err := nstest.Child(t, "no descriptor at start", fmt.Sprint(left)).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func init() {
	helpers["no descriptor at start"] = func() int {
		taken := fillTable(atoi(os.Args[1]))
		p, log := waitingProbe()
		closeAll(taken)
		p.check("log", log.count("too few descriptors"), 1)
		p.await("first sweep", func() bool { return p.Work().Sweeps > 0 })
		p.check("log", log.count("no pidfds"), 0)

		own := role("exit", "7")
		own.Start()
		awaitDead(p, own.Process.Pid)
		pid, end := orphan(3)
		end()
		p.check("exit", p.next(), reaper.Exit{PID: pid, Code: 3})
		time.Sleep(2 * time.Second) // for longer than a zombie without facts is left
		p.check("Wait", fmt.Sprint(own.Wait()), "exit status 7")
		return p.stop()
	}
}

// waitingProbe is loggedProbe that has not found enough descriptors yet.
func waitingProbe() (*probe, *logBuffer) {
	p, log := newLoggedProbe()
	p.start()
	p.await("wait for descriptors", func() bool { return log.count("descriptors left") > 0 })
	return p, log
}

// Run ends with ctx, also where it waits for descriptors.
func TestNoDescriptorEver(t *testing.T) {
	t.Parallel()
	if out, err := nstest.Child(t, "no descriptor ever").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

func init() {
	helpers["no descriptor ever"] = func() int {
		fillTable(0)
		p, _ := waitingProbe()
		return p.stop()
	}
}
