// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

func init() { helpers["starved"] = starvedMain }

// starvedMain is an App that gets little of the machine. Its arguments are what its
// first hook does, the grace, and what that needs. It says on stdout what happens.
func starvedMain() int {
	grace, err := time.ParseDuration(os.Args[2])
	if err != nil {
		panic(err)
	}
	twice := make(chan struct{})
	log := told(sync.OnceFunc(func() { close(twice) }))
	app := pid1.App{Logger: slog.New(slog.NewTextHandler(log, nil)), Delay: -1}
	app.Shutdown.Grace = grace
	app.OnReport = func(r *shutdown.Report) {
		head, _, _ := strings.Cut(r.String(), "\n")
		fmt.Println("late", r.Took > grace && strings.Contains(head, " taken, late"))
		fmt.Println("report", head)
	}
	app.Shutdown.Defer("next", func(ctx context.Context) error {
		end, _ := ctx.Deadline()
		fmt.Println("next", time.Until(end) > grace/40) // half of its Reserve
		return nil
	})
	app.Shutdown.Defer("first", func(ctx context.Context) error {
		fmt.Println("first")
		switch os.Args[1] {
		case "obey":
			<-ctx.Done()
		case "hang":
			hangInCrowd()
		case "burn":
			if err := os.WriteFile(filepath.Join(os.Args[3], "cgroup.procs"), []byte("0"), 0); err != nil {
				return err
			}
			burn()
		case "call":
			runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0))) // with one processor nothing else would run
			hangInCall()
		}
		return nil
	})
	if os.Args[1] == "hang" {
		n, _ := strconv.Atoi(os.Args[3])
		for range n {
			go func() { select {} }()
		}
	}
	err = app.Run(context.Background(), pid1.Func(func(ctx context.Context) error {
		fmt.Println("serving")
		<-ctx.Done()
		second := time.After(time.Second) // before the test hears of it, and freezes us
		fmt.Println("draining")
		switch os.Args[1] {
		case "serve":
			<-second
		case "told":
			<-twice
		}
		return nil
	}))
	fmt.Println("returned")
	return pid1.ExitCode(err)
}

// A told is stderr. It is called when that says that the stop was told twice.
type told func()

func (f told) Write(record []byte) (int, error) {
	if bytes.Contains(record, []byte("stop signal repeated, ignored")) {
		f()
	}
	return os.Stderr.Write(record)
}

func hangInCrowd() { select {} }

// hangInCall is blocked in a system call that the runtime does not know of, and
// repeats it after EINTR.
func hangInCall() {
	var ends [2]int
	if err := syscall.Pipe(ends[:]); err != nil {
		panic(err)
	}
	for readRaw(ends[0]) == syscall.EINTR {
	}
}

//go:noinline
func readRaw(fd int) syscall.Errno {
	var b [1]byte
	_, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b)), 1)
	return errno
}

// burn uses all of the CPU that there is.
func burn() {
	go func() {
		//lint:ignore SA5002 it is meant to spin
		for {
		}
	}()
	//lint:ignore SA5002 it is meant to spin
	for {
	}
}

// A starved process is a running starvedMain.
type starved struct {
	*testing.T
	cmd    *exec.Cmd
	lines  *bufio.Reader
	stderr strings.Builder
}

func startStarved(t *testing.T, start starter, args ...string) *starved {
	t.Helper()
	s := &starved{T: t, cmd: start(t, "starved", args...)}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = &s.stderr
	s.lines = bufio.NewReader(stdout)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *starved) await(text string) { s.Helper(); awaitLine(s, s.lines, text) }

func (s *starved) signal(sig os.Signal) {
	s.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.Fatal(err)
	}
}

// end waits for the end, and checks the exit code and what is said before it.
func (s *starved) end(code int, said, logged string) {
	s.Helper()
	rest, _ := io.ReadAll(s.lines)
	s.cmd.Wait()
	got := s.cmd.ProcessState.ExitCode()
	if got != code || !strings.Contains(string(rest), said) || !strings.HasSuffix(string(rest), "\nreturned\n") {
		s.Errorf("exit code %d, want %d; it said %q, want %q and a return; log:\n%s", got, code, rest, said, &s.stderr)
	}
	if !strings.Contains(s.stderr.String(), logged) && !strings.Contains(string(rest), ", not logged: ") { // as documented
		s.Errorf("the log does not say %q:\n%s", logged, &s.stderr)
	}
	s.Logf("%s", rest)
}

// TestFrozen: a process that was stopped for longer than its grace runs its hooks
// when it goes on, each with its Reserve, and says that it is late. A hook or server
// that obeys when it can is not Stuck.
func TestFrozen(t *testing.T) {
	t.Parallel()
	slow(t)
	for what, frozen := range map[string]string{"obey": "first", "serve": "draining"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			asInitAndNot(t, func(t *testing.T, start starter) {
				s := startStarved(t, start, what, "5s")
				s.await("serving")
				s.signal(syscall.SIGTERM)
				s.await(frozen)
				s.signal(syscall.SIGSTOP)
				s.awaitState("T")
				time.Sleep(6 * time.Second) // longer than the grace
				s.signal(syscall.SIGCONT)
				s.end(0, "next true\nlate true\nreport shutdown: SIGTERM, 5s grace, ", "")
			})
		})
	}
}

// TestToldTwiceToFrozen: the stop told again at once is the same stop, also to a process
// that does not run then and sees it late.
func TestToldTwiceToFrozen(t *testing.T) {
	t.Parallel()
	asInitAndNot(t, func(t *testing.T, start starter) {
		s := startStarved(t, start, "told", "10s")
		s.await("serving")
		first := time.Now()
		s.signal(syscall.SIGTERM)
		s.await("draining")
		s.signal(syscall.SIGSTOP)
		s.awaitState("T")
		s.signal(syscall.SIGTERM)
		if took := time.Since(first); took > 400*time.Millisecond {
			s.cmd.Process.Kill()
			t.Skipf("the machine has stalled: the second signal came %v after the first", took)
		}
		time.Sleep(700 * time.Millisecond) // more than the half second in which it is the same
		s.signal(syscall.SIGCONT)
		s.end(0, "next true\nlate false\nreport shutdown: SIGTERM, 10s grace, ", "stop signal repeated, ignored")
	})
}

// awaitState waits until the process is in a state of proc(5).
func (s *starved) awaitState(state string) {
	s.Helper()
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
		if err != nil {
			s.Fatal(err)
		}
		switch i := strings.LastIndex(string(stat), ") "); string(stat[i+2 : i+3]) {
		case state:
			return
		case "Z":
			s.cmd.Wait()
			s.Skip("the machine has stalled: the process has ended before that")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestQuota: a hook that burns all the CPU that a cgroup allows, 5 % of a processor,
// does not keep the next one from its turn.
func TestQuota(t *testing.T) {
	slow(t)
	nstest.SkipEmulated(t, "is too slow for a twentieth of a processor")
	t.Parallel()
	asInitAndNot(t, func(t *testing.T, start starter) {
		s := startStarved(t, start, "burn", "3s", quota(t))
		s.await("serving")
		s.signal(syscall.SIGTERM)
		s.await("first")
		s.end(124, "next ", "burn")
	})
}

// TestBlockedInSystemCall: a hook in a system call that the runtime does not know of
// keeps the world from stopping, and the stop ends in time all the same.
func TestBlockedInSystemCall(t *testing.T) {
	t.Parallel()
	slow(t)
	asInitAndNot(t, func(t *testing.T, start starter) {
		s := startStarved(t, start, "call", "3s")
		s.await("serving")
		s.signal(syscall.SIGTERM)
		s.end(124, "next true\nlate false\n", "hangInCall")
	})
}

// quota makes a cgroup that may use 5 % of a processor. Where that is not allowed
// the test is skipped.
func quota(t *testing.T) (dir string) {
	t.Helper()
	parent, settings := "/sys/fs/cgroup/cpu", map[string]string{"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "5000"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		parent, settings = "/sys/fs/cgroup", map[string]string{"cpu.max": "5000 100000"}
	}
	dir, err := os.MkdirTemp(parent, "entrypoint-test-")
	if err != nil {
		t.Skipf("no cgroup for a CPU quota: %v", err)
	}
	t.Cleanup(func() {
		for os.Remove(dir) != nil { // until the processes have left it
			time.Sleep(time.Millisecond)
		}
	})
	for name, value := range settings {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0); err != nil {
			t.Skipf("no CPU quota: %v", err)
		}
	}
	return dir
}

// TestKilledInStep: when the process is killed in the middle of its stop, the last
// line of its log names the step that lasted.
func TestKilledInStep(t *testing.T) {
	t.Parallel()
	asInitAndNot(t, func(t *testing.T, start starter) {
		cmd := start(t, "starved", "obey", "1m")
		log, logged := linesOf(t)
		cmd.Stderr = logged
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		logged.Close()
		awaitLine(t, log, "msg=serving")
		cmd.Process.Signal(syscall.SIGTERM)
		awaitLine(t, log, `msg="shutdown: step still runs" step=first`)
		cmd.Process.Kill()
		if rest, _ := io.ReadAll(log); len(rest) > 0 {
			t.Errorf("after it the log says %q", rest)
		}
		cmd.Wait()
	})
}

// TestCrowd: with 50,000 goroutines a hook that hangs is given up on in time, by the
// clock and by force, and the next one has its Reserve. The stacks are left out.
func TestCrowd(t *testing.T) {
	t.Parallel()
	slow(t) // and takes 150 MB
	t.Run("PID 1, by the clock", func(t *testing.T) {
		s := startStarved(t, nstest.Command, "hang", "2s", "50000")
		s.await("serving")
		s.signal(syscall.SIGTERM)
		s.end(124, "next true\n", "left out: to list the 500")
	})
	t.Run("child, by force", func(t *testing.T) {
		s := startStarved(t, nstest.Child, "hang", "1m", "50000")
		s.await("serving")
		s.signal(syscall.SIGTERM)
		s.await("first")
		defer tellAgain(func() { s.cmd.Process.Signal(syscall.SIGTERM) })()
		s.end(143, " taken, forced, 1 of ", "left out: to list the 500")
	})
}
