// SPDX-License-Identifier: MIT

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"go.uber.org/goleak"
)

// The test binary plays the init process and, called with @program, what runs
// under it.
func TestMain(m *testing.M) {
	nstest.Main(map[string]func() int{
		"init":   func() int { main(); return 0 },
		"launch": launch,
	})
	if len(os.Args) > 1 && os.Args[1] == "@program" {
		os.Exit(program(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

// programArgs are the arguments that make an init process run program.
func programArgs(args ...string) []string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return append([]string{"--", self, "@program"}, args...)
}

func program(args []string) int {
	switch args[0] {
	case "signals":
		return echoSignals()
	case "orphans":
		n, _ := strconv.Atoi(args[1])
		return makeOrphans(n)
	case "leave":
		return leave(args[1])
	case "linger":
		return linger(args[1])
	}
	return 99
}

// echoSignals prints the number of each signal that it gets, until the end of
// its standard input.
func echoSignals() int {
	c := make(chan os.Signal, 64)
	for n := 1; n <= 64; n++ {
		switch sig := syscall.Signal(n); sig {
		case syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPROF:
		default:
			signal.Notify(c, sig)
		}
	}
	go func() {
		for sig := range c {
			fmt.Println(int(sig.(syscall.Signal)))
		}
	}()
	fmt.Println("ready", os.Getpid())
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// makeOrphans starts n processes whose parent ends before them, tells that all
// have started, and that all have ended, and waits for the end of its input.
func makeOrphans(n int) int {
	r, w, err := os.Pipe()
	if err != nil {
		return 1
	}
	for range n {
		sh := exec.Command("sh", "-c", "sleep 0.1 & exit 0")
		sh.Stdout = w // inherited by the sleep: at its end the pipe closes
		if sh.Run() != nil {
			return 1
		}
	}
	w.Close()
	fmt.Println("started")
	io.Copy(io.Discard, r)
	fmt.Println("ended")
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// leave exits with 7 at the end of its input, and leaves a process that lingers.
func leave(how string) int {
	cmd := exec.Command(os.Args[0], "@program", "linger", how)
	cmd.Stdout = os.Stdout
	if err := cmd.Start(); err != nil {
		return 1
	}
	io.Copy(io.Discard, os.Stdin)
	return 7
}

// linger is a process that takes its time to end after SIGTERM, or does not end.
func linger(how string) int {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("ready")
	<-c
	switch how {
	case "polite":
		time.Sleep(200 * time.Millisecond)
		fmt.Println("cleaned up")
	case "stubborn":
		select {}
	}
	return 0
}

// A rival is a program with the command line of an init process.
type rival struct {
	name string
	file string // "": the program under test
}

var (
	ours     = rival{name: "init"}
	tini     = rival{"tini", "/usr/bin/tini"}
	dumbInit = rival{"dumb-init", "/usr/bin/dumb-init"}
)

// command is the rival as an ordinary process, with its standard error shown
// by a test that fails.
func (r rival) command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	if r.file == "" {
		return nstest.Child(t, "init", args...)
	}
	r.require(t)
	cmd := exec.CommandContext(nstest.Context(t), r.file, args...)
	cmd.WaitDelay = 5 * time.Second
	t.Cleanup(func() {
		if cmd.Process != nil && cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	return cmd
}

// require skips a test whose rival is not installed.
func (r rival) require(t testing.TB) {
	t.Helper()
	if r.file == "" {
		return
	}
	if _, err := os.Stat(r.file); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v: install it, or unset CI", err)
		}
		t.Skipf("no control: %v", err)
	}
}

// pid1 is the rival as PID 1.
func (r rival) pid1(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := nstest.Command(t, "init", args...)
	if r.file == "" {
		return cmd
	}
	control := r.command(t, args...)
	control.SysProcAttr = cmd.SysProcAttr
	return control
}

// each runs a test for all rivals that have what it is about.
func each(t *testing.T, rivals []rival, f func(t *testing.T, r rival)) {
	for _, r := range rivals {
		t.Run(r.name, func(t *testing.T) {
			r.require(t) // here, since f may call command in another goroutine
			f(t, r)
		})
	}
}

// A process is a rival that has been started.
type process struct {
	*exec.Cmd
	stdin  io.Closer
	lines  *bufio.Reader
	stderr *bytes.Buffer
}

// start starts cmd with pipes.
func start(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, stderr: new(bytes.Buffer)}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin, p.lines = stdin, bufio.NewReader(stdout)
	cmd.Stderr = p.stderr
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close() // ends what runs under it
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
		if t.Failed() {
			t.Logf("stderr of %s:\n%s", cmd.Path, p.stderr)
		}
	})
	return p
}

// line reads a line of the program's output.
func (p *process) line(t testing.TB) string {
	t.Helper()
	type result struct {
		line string
		err  error
	}
	c := make(chan result, 1)
	go func() {
		line, err := p.lines.ReadString('\n')
		c <- result{line, err}
	}()
	select {
	case r := <-c:
		if r.err != nil {
			t.Fatalf("read a line of output: %v", r.err)
		}
		return strings.TrimSpace(r.line)
	case <-time.After(20 * time.Second):
		t.Fatal("no line of output within 20s")
		return ""
	}
}

func (p *process) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatalf("send %v: %v", sig, err)
	}
}

// status waits for the end, and returns the exit status as a shell has it.
func (p *process) status(t testing.TB) int {
	t.Helper()
	return wait(t, p.Cmd)
}

func wait(t testing.TB, cmd *exec.Cmd) int {
	t.Helper()
	hangs := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer hangs.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		t.Fatal(err)
	}
	if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return exit.ExitCode()
}

// parallel calls f for 0 to n-1, some at a time.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}

// Every status is passed through, and -e makes 0 of one and leaves the others.
func TestExitStatus(t *testing.T) {
	t.Parallel()
	depth := nstest.Rounds(0, 1, 2) // 1: all of ours; 2: all of the others, and all with -e
	each(t, []rival{ours, tini, dumbInit}, func(t *testing.T, r rival) {
		var mu sync.Mutex
		check := func(want int, args ...string) {
			mu.Lock() // for t
			cmd := r.command(t, args...)
			mu.Unlock()
			if err := cmd.Start(); err != nil {
				t.Error(err)
				return
			}
			if got := wait(t, cmd); got != want {
				t.Errorf("%v: got %d, want %d", args, got, want)
			}
		}
		parallel(256, func(code int) {
			some := code%16 == 0 || code == 1 || code == 255
			if !some && (depth == 0 || depth == 1 && r != ours) {
				return
			}
			exit := fmt.Sprint("exit ", code)
			check(code, "--", "sh", "-c", exit)
			if r == dumbInit || !some && depth < 2 {
				return
			}
			check(0, "-e", strconv.Itoa(code), "--", "sh", "-c", exit)
			check(code, "-e", strconv.Itoa((code+1)%256), "--", "sh", "-c", exit)
		})
	})
}

// A program that a signal ends gives 128+n, for any PID.
func TestStatusOfSignals(t *testing.T) {
	t.Parallel()
	signals := []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGINT, syscall.SIGALRM, 35, 64}
	each(t, []rival{ours, tini, dumbInit}, func(t *testing.T, r rival) {
		for _, start1 := range []func(testing.TB, ...string) *exec.Cmd{r.command, r.pid1} {
			for _, sig := range signals {
				p := start(t, start1(t, "--", "sh", "-c", "echo ready; exec sleep 60"))
				p.line(t)
				p.signal(t, sig)
				if got, want := p.status(t), 128+int(sig); got != want {
					t.Errorf("%d: got %d, want %d", sig, got, want)
				}
			}
			for _, sig := range append(signals, syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGABRT) {
				p := start(t, start1(t, "--", "sh", "-c", fmt.Sprintf("ulimit -c 0; kill -%d $$", int(sig))))
				if got, want := p.status(t), 128+int(sig); got != want {
					t.Errorf("%d of its own: got %d, want %d", sig, got, want)
				}
			}
		}
	})
}

func TestCannotRun(t *testing.T) {
	tests := []struct {
		program string
		want    int
	}{
		{"/no/such/program", 127},
		{"no-such-program", 127},
		{"/", 126},
		{"/etc/passwd", 126},
	}
	for _, test := range tests {
		each(t, []rival{ours, tini}, func(t *testing.T, r rival) {
			var stderr strings.Builder
			cmd := r.command(t, test.program)
			cmd.Env = append(cmd.Environ(), "PATH=/usr/bin:/bin") // a directory there that may not be searched makes 126 of tini's 127
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if got := wait(t, cmd); got != test.want || !strings.Contains(stderr.String(), test.program) {
				t.Errorf("%s: got %d, want %d, and the name in %q", test.program, got, test.want, &stderr)
			}
		})
	}
}

// Every signal that can be caught arrives, once and in order, except SIGCHLD and
// what the init process needs itself.
func TestForwardsEverySignal(t *testing.T) {
	skip := map[rival]string{
		ours:     " 9 17 19 23 27 32 33 34 ",
		tini:     " 4 5 6 7 8 9 11 17 19 21 22 23 27 31 32 33 34 ",
		dumbInit: " 9 17 19 20 21 22 23 27 ", // and it reads beyond an array for more than 31
	}
	each(t, []rival{ours, tini, dumbInit}, func(t *testing.T, r rival) {
		for _, start1 := range []func(testing.TB, ...string) *exec.Cmd{r.command, r.pid1} {
			args := programArgs("signals")
			if r == dumbInit {
				args = append([]string{"--single-child"}, args...)
			}
			p := start(t, start1(t, args...))
			p.line(t)
			last := 64
			if r == dumbInit {
				last = 31
			}
			for n := 1; n <= last; n++ {
				if strings.Contains(skip[r], fmt.Sprintf(" %d ", n)) {
					continue
				}
				p.signal(t, syscall.Signal(n))
				if got, want := p.line(t), strconv.Itoa(n); got != want {
					t.Fatalf("got %s, want %s", got, want)
				}
			}
			// Those that are not passed on have not arrived either.
			p.signal(t, syscall.SIGCHLD)
			p.signal(t, syscall.SIGURG)
			p.signal(t, syscall.SIGUSR1)
			if got, want := p.line(t), strconv.Itoa(int(syscall.SIGUSR1)); got != want {
				t.Errorf("after SIGCHLD and SIGURG: got %s, want %s", got, want)
			}
			p.stdin.Close()
			if got := p.status(t); got != 0 {
				t.Errorf("got status %d, want 0", got)
			}
		}
	})
}

func TestRewrite(t *testing.T) {
	tests := []struct {
		name    string
		rewrite []string
		send    []syscall.Signal
		want    []int
	}{
		{"none", nil, []syscall.Signal{15, 1}, []int{15, 1}},
		{"one", []string{"15:3"}, []syscall.Signal{15, 1}, []int{3, 1}},
		{"swap", []string{"15:3", "3:15"}, []syscall.Signal{15, 3}, []int{3, 15}},
		{"lowest and highest", []string{"1:31", "31:1"}, []syscall.Signal{1, 31}, []int{31, 1}},
		{"dropped", []string{"1:0"}, []syscall.Signal{1, 15}, []int{15}},
		{"the last counts", []string{"1:10", "1:12"}, []syscall.Signal{1}, []int{12}},
	}
	names := []string{"TERM:SIGQUIT", "hup:0", "40:USR1"}
	each(t, []rival{ours, dumbInit}, func(t *testing.T, r rival) {
		tests := tests
		if r == ours {
			tests = append(tests, struct {
				name    string
				rewrite []string
				send    []syscall.Signal
				want    []int
			}{"names", names, []syscall.Signal{15, 1, 40}, []int{3, 10}})
		}
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				var args []string
				for _, rewrite := range test.rewrite {
					args = append(args, "-r", rewrite)
				}
				if r == dumbInit {
					args = append(args, "-c")
				}
				p := start(t, r.command(t, append(args, programArgs("signals")...)...))
				p.line(t)
				want := test.want
				for i, sig := range test.send {
					p.signal(t, sig)
					// One at a time: of two that wait the kernel delivers the lower first.
					if dropped := len(test.send) - i - len(want); dropped > 0 {
						continue
					}
					if got := p.line(t); got != strconv.Itoa(want[0]) {
						t.Fatalf("sent %d: got %s, want %d", sig, got, want[0])
					}
					want = want[1:]
				}
			})
		}
	})
}

// What the group is for: the program ignores the signal, its child does not.
func TestGroup(t *testing.T) {
	// A trap that is set after the start of the child is not inherited.
	const script = `sh -c 'trap "exit 42" USR1; echo ready; while :; do sleep 0.01; done' &
		trap '' USR1; echo ready; wait $!`
	tests := []struct {
		name string
		args []string
		env  string
	}{
		{"-g", []string{"-g"}, ""},
		{"variable", nil, "TINI_KILL_PROCESS_GROUP="},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			each(t, []rival{ours, tini}, func(t *testing.T, r rival) {
				cmd := r.command(t, append(test.args, "--", "sh", "-c", script)...)
				cmd.Env = append(cmd.Environ(), test.env)
				p := start(t, cmd)
				p.line(t)
				p.line(t)
				p.signal(t, syscall.SIGUSR1)
				if got, want := p.status(t), 42; got != want {
					t.Errorf("got status %d, want %d", got, want)
				}
			})
		})
	}
	// Otherwise it is for the program alone, which leads a group all the same.
	const alone = `sleep 60 & trap 'kill -9 $!; wait $!; exit $?' USR1
		set -- $(cat /proc/$$/stat); echo $1 $5; wait`
	t.Run("not the group", func(t *testing.T) {
		each(t, []rival{ours, tini}, func(t *testing.T, r rival) {
			p := start(t, r.command(t, "--", "sh", "-c", alone))
			if pid, pgid, _ := strings.Cut(p.line(t), " "); pid != pgid {
				t.Errorf("PID %s is in process group %s, want a group of its own", pid, pgid)
			}
			p.signal(t, syscall.SIGUSR1)
			if got, want := p.status(t), 137; got != want {
				t.Errorf("the other process ended with %d, want %d: by SIGKILL", got, want)
			}
		})
	})
}

// children lists the children of a process, by state.
func children(t testing.TB, pid int) (zombies, living []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended meanwhile
		}
		id, _ := strconv.Atoi(string(text[:bytes.IndexByte(text, ' ')]))
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if fields[1] != strconv.Itoa(pid) {
			continue
		}
		if fields[0] == "Z" {
			zombies = append(zombies, id)
		} else {
			living = append(living, id)
		}
	}
	return zombies, living
}

// eventually waits for a state of affairs that nothing tells of.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20s: %s", what)
		}
	}
}

// A hundred orphans are collected, in each way of being their parent.
func TestOrphans(t *testing.T) {
	t.Parallel()
	n := nstest.Rounds(10, 50, 100)
	tests := []struct {
		name   string
		rivals []rival
		start  func(r rival, t *testing.T, args ...string) *exec.Cmd
		silent bool // no complaint about zombies
	}{
		{"PID 1", []rival{ours, tini, dumbInit}, func(r rival, t *testing.T, args ...string) *exec.Cmd {
			return r.pid1(t, args...)
		}, true},
		{"-s", []rival{ours, tini}, func(r rival, t *testing.T, args ...string) *exec.Cmd {
			return r.command(t, append([]string{"-s"}, args...)...)
		}, true},
		{"variable", []rival{ours, tini}, func(r rival, t *testing.T, args ...string) *exec.Cmd {
			cmd := r.command(t, args...)
			cmd.Env = append(cmd.Environ(), "TINI_SUBREAPER=")
			return cmd
		}, true},
		{"inherited", []rival{ours, tini}, func(r rival, t *testing.T, args ...string) *exec.Cmd {
			return launched(t, "subreaper", r.command(t, args...))
		}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			each(t, test.rivals, func(t *testing.T, r rival) {
				p := start(t, test.start(r, t, programArgs("orphans", strconv.Itoa(n))...))
				for _, want := range []string{"started", "ended"} {
					if got := p.line(t); got != want {
						t.Fatalf("got %q, want %q", got, want)
					}
				}
				eventually(t, "the program is the only child", func() bool {
					zombies, living := children(t, p.Process.Pid)
					return len(zombies) == 0 && len(living) == 1
				})
				p.stdin.Close()
				if got := p.status(t); got != 0 {
					t.Errorf("got status %d, want 0", got)
				}
				if r == ours && p.stderr.Len() > 0 {
					t.Errorf("unasked: %s", p.stderr)
				}
			})
		})
	}
}

// With -w the collected ones are named, and no other.
func TestReportsReaped(t *testing.T) {
	const script = `sh -c 'sleep 0.02 & echo $!' |
		{ read orphan; echo $orphan; while test -e /proc/$orphan; do sleep 0.01; done; }`
	for _, flag := range []string{"-s", "-sw"} {
		p := start(t, ours.command(t, flag, "sh", "-c", script))
		orphan := p.line(t)
		if got := p.status(t); got != 0 {
			t.Fatalf("got status %d, want 0", got)
		}
		want := ""
		if flag == "-sw" {
			want = "init: reaped zombie process with pid=" + orphan + "\n"
		}
		if got := p.stderr.String(); got != want {
			t.Errorf("%s: got %q, want %q", flag, got, want)
		}
	}
	p := start(t, ours.command(t, "true"))
	if got, stderr := p.status(t), p.stderr.String(); got != 0 || !strings.Contains(stderr, "TINI_SUBREAPER") {
		t.Errorf("neither PID 1 nor a subreaper: got status %d and %q, want 0 and a hint at TINI_SUBREAPER", got, stderr)
	}
}

func TestArguments(t *testing.T) {
	tests := []struct {
		args   string
		status int
		want   string // in the output
	}{
		{"", 1, "Usage:"},
		{"--", 1, "Usage:"},
		{"-q true", 1, "Usage:"},
		{"-e", 1, "Usage:"},
		{"-e 256 true", 1, "Usage:"},
		{"-e -1 true", 1, "Usage:"},
		{"-e x true", 1, "Usage:"},
		{"-p SIGNONE true", 1, "SIGNONE"},
		{"-p", 1, "Usage:"},
		{"-t soon true", 1, "soon"},
		{"-t -1s true", 1, "-1s"},
		{"-r true", 1, "Usage:"},
		{"-r 1 true", 1, "Usage:"},
		{"-r 1: true", 1, "Usage:"},
		{"-r :1 true", 1, "Usage:"},
		{"-r 0:1 true", 1, "Usage:"},
		{"-r 1:65 true", 1, "Usage:"},
		{"-r 1:-1 true", 1, "Usage:"},
		{"-r 1:2:3 true", 1, "Usage:"},
		{"-r x:y true", 1, "Usage:"},
		{"-h", 0, "Usage:"},
		{"--version", 0, "init"},
		{"-l", 0, "MIT"},
		{"-vg true", 0, "level=INFO"},
		{"-e1 false", 0, ""},
		{"-svge 1 -e 2 -- false", 0, ""},
		{"echo a -h", 0, "a -h"},
		{"-s -- echo -- -s", 0, "-- -s"},
	}
	for _, test := range tests {
		cmd := ours.command(t, strings.Fields(test.args)...)
		text, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != test.status || !strings.Contains(string(text), test.want) {
			t.Errorf("%q: got status %d, want %d, and %q in:\n%s", test.args, got, test.status, test.want, text)
		}
	}
}
