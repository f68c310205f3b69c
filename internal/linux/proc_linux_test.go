// SPDX-License-Identifier: MIT

package linux_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/entrypoint-go/entrypoint/internal/linux"
	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

func init() {
	helpers["check proc"] = func() int {
		fmt.Print(linux.CheckProc())
		return 0
	}
}

func TestCheckProc(t *testing.T) {
	for _, test := range []struct {
		name string
		cmd  func(testing.TB, string, ...string) *exec.Cmd
		want string // in the answer
	}{
		{"ordinary process", nstest.Child, "<nil>"},
		{"PID 1", nstest.Command, "<nil>"},
		{"the /proc of another namespace", nstest.CommandWithHostProc, "for this process, which is PID 1;"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := test.cmd(t, "check proc").CombinedOutput()
			if got := string(out); err != nil || !strings.Contains(got, test.want) {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestParseStat(t *testing.T) {
	const rest = " 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 12345 0 0"
	for _, c := range []struct {
		stat string
		want linux.Process // no PID: an error
	}{
		{"42 (cat) S 7" + rest + "\n", process("cat")},
		{"42 (a) Z 1 (b)) S 7" + rest, process("a) Z 1 (b)")}, // a name may be anything
		{"42 (a\nb) S 7" + rest, process("a\nb")},
		{"42 () S 7" + rest, process("")},
		{"42 (cat) S 7 1 1 34816 -1" + rest[len(" 1 1 0 -1"):], onTerminal("cat")},
		{stat: "42 (cat) S 7"},
		{stat: "42 (cat) S x" + rest},
		{stat: "42 (cat) S -7" + rest},
		{stat: "42 (cat) SS 7" + rest},
		{stat: "x (cat) S 7" + rest},
		{stat: "42 )cat( S 7" + rest},
		{stat: ""},
		{stat: "no parenthesis"},
	} {
		got, err := linux.ParseStat([]byte(c.stat))
		if got != c.want || (err == nil) != (c.want.PID != 0) {
			t.Errorf("%q: got %+v, %v; want %+v", c.stat, got, err, c.want)
		}
	}
}

func process(name string) linux.Process {
	return linux.Process{PID: 42, Parent: 7, Name: name, State: 'S', Flags: 4194560, Threads: 9, Start: 12345}
}

func onTerminal(name string) linux.Process {
	p := process(name)
	p.Terminal = true
	return p
}

// Which signals a process ignores: a shell is told by trap.
func TestIgnores(t *testing.T) {
	cmd := exec.Command("sh", "-c", `trap "" TERM; echo; read line`)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.Read(make([]byte, 1))
	for s, want := range map[syscall.Signal]bool{syscall.SIGTERM: true, syscall.SIGUSR1: false} {
		if got := linux.Ignores(cmd.Process.Pid, s); got != want {
			t.Errorf("%v is ignored: %v, want %v", s, got, want)
		}
	}
	in.Close()
	cmd.Wait()
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (cat) S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 12345 0 0"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		p, err := linux.ParseStat(stat)
		if err != nil && p != (linux.Process{}) || err == nil && (p.State == 0 || len(p.Name) > len(stat)) {
			t.Errorf("%q: %+v, %v", stat, p, err)
		}
	})
}

func TestProcesses(t *testing.T) {
	nstest.SkipEmulated(t, "fills /proc/self/stat with zeros")
	self, err := linux.ReadProcess(os.Getpid())
	if err != nil || self.PID != os.Getpid() || self.Parent != os.Getppid() || self.Threads < 2 || self.Dead() {
		t.Errorf("this process: got %+v, %v", self, err)
	}
	isSelf := func(p linux.Process) bool { return p.PID == self.PID && p.Start == self.Start }
	if all := linux.Processes(); !slices.ContainsFunc(all, isSelf) {
		t.Errorf("PID %d is not among %+v", self.PID, all)
	}
	if p, err := linux.ReadProcess(1 << 30); !os.IsNotExist(err) {
		t.Errorf("no such process: got %+v, %v", p, err)
	}
}

// Who reads numbers learns that some may be missing.
func TestNumbers(t *testing.T) {
	if all, err := linux.Numbers("/proc/self/task"); err != nil || !slices.Contains(all, os.Getpid()) {
		t.Errorf("threads: got %v, %v; want the first, %d, among them", all, err, os.Getpid())
	}
	for _, name := range []string{"/proc/self/stat", "/proc/no such"} { // the first can be opened
		if all, err := linux.Numbers(name); err == nil || len(all) > 0 {
			t.Errorf("%s: got %v, %v; want an error", name, all, err)
		}
	}
}

// A process with a dead main thread and another that runs is not dead.
func TestDead(t *testing.T) {
	for _, c := range []struct {
		state   byte
		threads int
		want    bool
	}{
		{'Z', 1, true}, {'X', 1, true}, {'Z', 0, true}, {'Z', 2, false}, {'S', 1, false},
	} {
		p := linux.Process{State: c.state, Threads: c.threads}
		if got := p.Dead(); got != c.want {
			t.Errorf("state %c with %d threads: got %v, want %v", c.state, c.threads, got, c.want)
		}
	}
}
