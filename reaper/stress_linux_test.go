// SPDX-License-Identifier: MIT

package reaper_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/reaper"
)

// The full form takes some minutes for each of the four cases:
//
//	go test ./reaper -run TestStress -stress.commands 100000 -stress.orphans 20000 -stress.patience 30s -timeout 2h -v
var (
	stressCommands = flag.Int("stress.commands", 0, "exec.Cmd in each case of TestStress")
	stressOrphans  = flag.Int("stress.orphans", 0, "orphans beside them")
	stressPatience = flag.Duration("stress.patience", 3*time.Second, "how long a zombie is left to an owner that may exist")
)

// A stressResult is what a stressed process says about itself.
type stressResult struct {
	Started, Finished int
	Wrong             []string // statuses that were lost or are not right, the first few
	WrongCount        int
	Orphans           int // expected
	Exits             int // of orphans, seen by OnReap
	Zombies           int // at the end
	Took              time.Duration
	Work              reaper.Work
}

// Commands whose owners do all that owners do, beside orphans: no status is
// lost, and nothing stays.
func TestStress(t *testing.T) {
	t.Parallel()
	if *stressCommands == 0 {
		*stressCommands = nstest.Rounds(48, 400, 1000)
	}
	if *stressOrphans == 0 {
		*stressOrphans = nstest.Rounds(40, 200, 500)
	}
	cases := []struct {
		name   string
		helper string
		pid1   bool
	}{
		{"PID 1", "stress", true},
		{"subreaper", "stress", false},
		{"PID 1, no pidfds", "stress without pidfds", true},
		{"subreaper, no pidfds", "stress without pidfds", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			commands, orphans := fmt.Sprint(*stressCommands), fmt.Sprint(*stressOrphans)
			cmd := nstest.Child
			if c.pid1 {
				cmd = nstest.Command
			}
			got := run[stressResult](t, cmd(t, c.helper, commands, orphans, stressPatience.String()))
			t.Logf("%+v", got)
			got.check(t)
		})
	}
}

func (got stressResult) check(t *testing.T) {
	t.Helper()
	wantSame(t, "finished commands", got.Finished, got.Started)
	wantSame(t, "lost or wrong statuses", got.WrongCount, 0)
	wantSame(t, "orphans collected", got.Exits, got.Orphans)
	wantSame(t, "zombies left", got.Zombies, 0)
}

// run runs a helper that prints its result as JSON.
func run[T any](t *testing.T, cmd *exec.Cmd) (result T) {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("helper: %v\n%s%s", err, out, &stderr)
	}
	if err := json.Unmarshal(out, &result); err != nil {
		t.Fatalf("helper's answer: %v\n%s%s", err, out, &stderr)
	}
	if stderr.Len() > 0 {
		t.Logf("%s", &stderr)
	}
	return result
}

func answer(result any) int {
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func init() {
	helpers["stress"] = stress
	helpers["stress without pidfds"] = func() int {
		// argv[0] leads to the role below, past nstest, which has done its part.
		err := refusePidfds(append([]string{"stress"}, os.Args[1:]...), os.Environ())
		fmt.Fprintln(os.Stderr, "refuse pidfds:", err)
		return 1
	}
	roles["stress"] = stress
}

func installFilter(filter []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}

// Orphans exit with this code, commands never.
const orphanCode = 99

func stress() int { return answer(stressed()) }

func stressed() (result stressResult) {
	start := time.Now()
	commands, orphans := atoi(os.Args[1]), atoi(os.Args[2])
	patience, err := time.ParseDuration(os.Args[3])
	if err != nil {
		panic(err)
	}
	result.Started = commands

	var mu sync.Mutex
	r := reaper.Reaper{Subreaper: true, OnReap: func(e reaper.Exit) {
		mu.Lock()
		defer mu.Unlock()
		if e.Code == orphanCode {
			result.Exits++
		}
	}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.RunWith(ctx, patience) }()

	for r.Work().Sweeps == 0 { // a subreaper from here on
		time.Sleep(time.Millisecond)
	}

	// Worker 0 is this goroutine, on the first thread: its children look
	// like orphans.
	var next, finished atomic.Int64
	var wrong []string
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= commands {
				return
			}
			code := 1 + i%90
			o := owners[i%len(owners)]
			if err := o.run(code); err != nil {
				mu.Lock()
				wrong = append(wrong, fmt.Sprintf("%s: %v", o.name, err))
				mu.Unlock()
			}
			finished.Add(1)
		}
	}
	var wg sync.WaitGroup
	for range 7 {
		wg.Go(work)
	}
	wg.Go(func() {
		const each = 20
		for range (orphans + each - 1) / each {
			cmd := makeOrphans(each)
			if err := cmd.Run(); err != nil {
				mu.Lock()
				wrong = append(wrong, fmt.Sprintf("make orphans: %v", err))
				mu.Unlock()
			}
			mu.Lock()
			result.Orphans += each
			mu.Unlock()
		}
	})
	work()
	wg.Wait()

	// Released children of other threads, and without pidfds all orphans, stay
	// for patience. A look may then come late: where one takes a second, as under
	// gVisor, the next comes after a minute or two.
	deadline := time.Now().Add(patience + 3*time.Minute)
	for len(zombies()) > 0 && time.Now().Before(deadline) {
		runtime.GC() // process objects without owner close their pidfds
		time.Sleep(50 * time.Millisecond)
	}
	result.Zombies = len(zombies())
	result.Work = r.Work()
	cancel()
	if err := <-done; err != nil {
		wrong = append(wrong, err.Error())
	}
	mu.Lock()
	defer mu.Unlock()
	result.Finished = int(finished.Load())
	result.WrongCount = len(wrong)
	result.Wrong = wrong[:min(len(wrong), 10)]
	result.Took = time.Since(start)
	return result
}

// With a shell there are ten times as many processes a second.
var haveShell = func() bool {
	_, err := exec.LookPath("sh")
	return err == nil
}()

func exiting(code int) *exec.Cmd {
	if haveShell {
		return exec.Command("sh", "-c", fmt.Sprintf("exit %d", code))
	}
	return role("exit", fmt.Sprint(code))
}

func echoing(code int) *exec.Cmd {
	if haveShell {
		return exec.Command("sh", "-c", fmt.Sprintf("echo echo; exit %d", code))
	}
	return role("echo", fmt.Sprint(code))
}

func makeOrphans(n int) *exec.Cmd {
	if haveShell {
		return exec.Command("sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do (exit %d &); i=$((i+1)); done", n, orphanCode))
	}
	return role("orphans", fmt.Sprint(n), "exit", fmt.Sprint(orphanCode))
}

// owners are the ways in which programs treat their children.
var owners = []struct {
	name string
	run  func(code int) error
}{
	{"Run", func(code int) error {
		return wantCode(exiting(code).Run(), code)
	}},
	{"Wait comes late", func(code int) error {
		cmd := exiting(code)
		if err := cmd.Start(); err != nil {
			return err
		}
		time.Sleep(time.Duration(code) * 500 * time.Microsecond) // late is the point
		return wantCode(cmd.Wait(), code)
	}},
	{"forking thread gone", func(code int) error {
		cmd := exiting(code)
		started := make(chan error)
		go func() {
			runtime.LockOSThread() // and ends locked, so the thread ends too
			started <- cmd.Start()
		}()
		if err := <-started; err != nil {
			return err
		}
		return wantCode(cmd.Wait(), code)
	}},
	{"forking thread gone, Wait comes late", func(code int) error {
		cmd := exiting(code)
		started := make(chan error)
		go func() {
			runtime.LockOSThread()
			started <- cmd.Start()
		}()
		if err := <-started; err != nil {
			return err
		}
		time.Sleep(time.Duration(code) * 200 * time.Microsecond)
		return wantCode(cmd.Wait(), code)
	}},
	{"StdoutPipe", func(code int) error {
		cmd := echoing(code)
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		text, err := io.ReadAll(out)
		if string(text) != "echo\n" {
			return fmt.Errorf("read %q, %v", text, err)
		}
		return wantCode(cmd.Wait(), code)
	}},
	{"CombinedOutput", func(code int) error {
		cmd := echoing(code)
		cmd.Stderr = nil
		text, err := cmd.CombinedOutput()
		if string(text) != "echo\n" {
			return fmt.Errorf("read %q, %v", text, err)
		}
		return wantCode(err, code)
	}},
	{"CommandContext", func(int) error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Millisecond)
		defer cancel()
		block := role("block")
		if haveShell {
			block = exec.Command("sleep", "1000")
		}
		cmd := exec.CommandContext(ctx, block.Path)
		cmd.Args = block.Args
		err := cmd.Run()
		if errors.Is(err, context.DeadlineExceeded) {
			return nil // before it started
		}
		if err == nil || err.Error() != "signal: killed" {
			return fmt.Errorf("got %v, want signal: killed", err)
		}
		return nil
	}},
	{"os.StartProcess", func(code int) error {
		cmd := exiting(code)
		p, err := os.StartProcess(cmd.Path, cmd.Args, &os.ProcAttr{})
		if err != nil {
			return err
		}
		state, err := p.Wait()
		if err != nil {
			return err
		}
		if state.ExitCode() != code {
			return fmt.Errorf("exit code %d, want %d", state.ExitCode(), code)
		}
		return nil
	}},
	{"SysProcAttr.PidFD", func(code int) error {
		cmd := exiting(code)
		fd := -1
		cmd.SysProcAttr = &unix.SysProcAttr{PidFD: &fd}
		if err := cmd.Start(); err != nil {
			return err
		}
		if fd >= 0 {
			unix.Close(fd)
		}
		return wantCode(cmd.Wait(), code)
	}},
	{"os.FindProcess of an orphan", func(code int) error {
		in, write, err := os.Pipe()
		if err != nil {
			return err
		}
		defer in.Close()
		defer write.Close()
		cmd := role("orphans", "1", "reader", fmt.Sprint(code))
		cmd.Stdin = in
		out, err := cmd.Output()
		if err != nil {
			return err
		}
		p, err := os.FindProcess(pids(out)[0])
		if err != nil {
			return err
		}
		write.Close()
		state, err := p.Wait()
		if err != nil {
			return err
		}
		if state.ExitCode() != code {
			return fmt.Errorf("exit code %d, want %d", state.ExitCode(), code)
		}
		return nil
	}},
	{"released", func(code int) error {
		cmd := exiting(code)
		if err := cmd.Start(); err != nil {
			return err
		}
		return cmd.Process.Release()
	}},
	{"never waited for", func(code int) error {
		return exiting(code).Start()
	}},
}

func wantCode(err error, code int) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == code {
		return nil
	}
	return fmt.Errorf("got %v, want exit status %d", err, code)
}
