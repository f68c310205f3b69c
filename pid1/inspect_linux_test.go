// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/linux"
	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
)

func init() {
	helpers["inspect"] = inspectHelper
	helpers["starting"] = starting
	helpers["inspect-ignoring"] = inspectIgnoring
	helpers["inspect-subreaper"] = inspectSubreaper
	helpers["inspect-zombies"] = inspectZombies
	helpers["inspect-cgroup"] = inspectCgroup
}

// A finding is what a helper prints: Environment, with signals as numbers.
type finding struct {
	pid1.Environment
	Ignored, Blocked []syscall.Signal
	Warning          string
}

func printFinding(e pid1.Environment) int {
	f := finding{Environment: e, Warning: e.Warning()}
	for _, sig := range e.Ignored {
		f.Ignored = append(f.Ignored, sig.(syscall.Signal))
	}
	for _, sig := range e.Blocked {
		f.Blocked = append(f.Blocked, sig.(syscall.Signal))
	}
	json.NewEncoder(os.Stdout).Encode(f)
	return 0
}

func inspectHelper() int { return printFinding(pid1.Inspect()) }

func inspected(t *testing.T, cmd *exec.Cmd) (f finding) {
	t.Helper()
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &f)
	}
	if err != nil {
		t.Fatalf("%q: %v, %s", cmd.Args, err, out)
	}
	return f
}

func TestInspectAsInit(t *testing.T) {
	t.Parallel()
	cmd := nstest.Command(t, "inspect")
	got := inspected(t, cmd)
	if !got.Init || got.PID != 1 || got.Parent != 0 || got.Warning != "" || len(got.Zombies) != 0 || got.Subreaper {
		t.Errorf("got %+v", got)
	}
	if want := filepath.Base(cmd.Path); got.InitName != want || !slices.Equal(got.InitArgs, cmd.Args) {
		t.Errorf("PID 1: got %q %q, want this test: %q", got.InitName, got.InitArgs, cmd.Args)
	}
	for _, unknown := range got.Unknown {
		if !strings.HasPrefix(unknown, "pids.max") {
			t.Errorf("unknown: %s", unknown)
		}
	}
}

// The /proc of another namespace must not be taken for ours: its PID 1 is not
// our init, and our PID is somebody else there.
func TestInspectForeignProc(t *testing.T) {
	t.Parallel()
	got := inspected(t, nstest.CommandWithHostProc(t, "inspect"))
	if !got.Init || got.InitName != "" || got.InitArgs != nil || got.Zombies != nil || got.Warning != "" {
		t.Errorf("got %+v", got)
	}
	unknown := strings.Join(got.Unknown, "\n")
	for _, want := range []string{"PID 1 (no /proc", "zombies (no /proc"} {
		if !strings.Contains(unknown, want) {
			t.Errorf("unknown: got %q, want %q", unknown, want)
		}
	}
}

// under makes PID 1 of cmd the program argv, which starts what cmd was before
// where an argument is "$TEST".
func under(t *testing.T, cmd *exec.Cmd, argv ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath(argv[0])
	if err != nil {
		t.Skip(err)
	}
	args := slices.Clone(argv)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "$TEST", cmd.Path)
	}
	cmd.Path, cmd.Args = program, args
	return cmd
}

func TestInspectUnderShell(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script(t, dir, "start.sh", "#!/bin/sh\n\"$@\"\n")
	script(t, dir, "docker-entrypoint.sh", "#!/bin/sh\nexit=0\n\"$@\" || exit=$?\nexit $exit\n")
	script(t, dir, "exec.sh", "#!/bin/sh\nexec \"$@\"\n")
	start, long, replace := filepath.Join(dir, "start.sh"), filepath.Join(dir, "docker-entrypoint.sh"), filepath.Join(dir, "exec.sh")

	tests := []struct {
		argv    []string
		name    string // of PID 1; "": the test itself
		form    bool
		script  bool
		warning string
	}{
		{[]string{"dash", "-c", "$TEST --port 8080"}, "dash", true, false, `write ENTRYPOINT ["$TEST", "--port", "8080"] (exec form)`},
		{[]string{"dash", "-c", "$TEST --dir $PWD"}, "dash", true, false, `write ENTRYPOINT ["dash", "-c", "exec $TEST --dir $PWD"]`},
		{[]string{"dash", "-ec", "$TEST; true"}, "dash", true, false, "put exec before the last command"},
		{[]string{"bash", "-c", "$TEST; true"}, "bash", true, false, "put exec before the last command"},
		{[]string{"busybox", "sh", "-c", "$TEST; true"}, "busybox", true, false, "put exec before the last command"},
		{[]string{"dash", start, "$TEST"}, "dash", false, true, "start this program with exec there"},
		{[]string{start, "$TEST"}, "start.sh", false, true, "start this program with exec there"},
		{[]string{long, "$TEST"}, "docker-entrypoint.sh", false, true, "start this program with exec there"},

		// What a shell does right is left alone.
		{[]string{"dash", "-c", "exec $TEST"}, "", false, false, ""},
		{[]string{"dash", replace, "$TEST"}, "", false, false, ""},
		{[]string{"dash", "-c", `trap 'kill $!' TERM; $TEST & wait $!`}, "dash", false, false, ""},
		{[]string{"dash", "-c", `dash -c '$TEST; true'; true`}, "dash", false, false, ""}, // a grandchild
	}
	for _, tt := range tests {
		cmd := nstest.Command(t, "inspect")
		name, warning := tt.name, strings.ReplaceAll(tt.warning, "$TEST", cmd.Path)
		if name == "" {
			name = filepath.Base(cmd.Path)
		}
		got := inspected(t, under(t, cmd, tt.argv...))
		if got.InitName != name || got.Init != (tt.name == "") {
			t.Errorf("%q: PID 1: got %q, %v; want %q", tt.argv, got.InitName, got.Init, name)
		}
		if got.ShellForm != tt.form || got.ShellScript != tt.script {
			t.Errorf("%q: got shell form %v, script %v", tt.argv, got.ShellForm, got.ShellScript)
		}
		if !strings.Contains(got.Warning, warning) || (got.Warning == "") != (warning == "") {
			t.Errorf("%q: got warning %q, want %q", tt.argv, got.Warning, warning)
		}
	}
}

// The start warns of a shell that keeps stop signals to itself.
func TestStartUnderShell(t *testing.T) {
	t.Parallel()
	for command, warns := range map[string]bool{"$TEST; true": true, "exec $TEST": false} {
		cmd := under(t, nstest.Command(t, "starting"), "dash", "-c", command)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), "PID 1 is a shell that does not forward SIGTERM") != warns {
			t.Errorf("%s: %v, a warning is wanted: %v\n%s", command, err, warns, out)
		}
	}
}

// starting runs an App that ends at once.
func starting() int {
	job := pid1.Job(func(context.Context) error { return nil })
	return pid1.ExitCode(pid1.Run(context.Background(), job))
}

// The advice for a shell form is followed to the letter, and is then right.
func TestShellFormAdvice(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"$TEST", "$TEST --port 8080 'a b' \"\"", "$TEST --dir $HOME *"} {
		before := inspected(t, under(t, nstest.Command(t, "inspect"), "dash", "-c", text))
		_, advice, _ := strings.Cut(before.Warning, "write ENTRYPOINT ")
		var argv []string
		if err := json.Unmarshal([]byte(strings.TrimSuffix(advice, " (exec form)")), &argv); err != nil {
			t.Fatalf("%q: %v", before.Warning, err)
		}
		after := inspected(t, under(t, nstest.Command(t, "inspect"), argv...))
		if !after.Init || after.Warning != "" || !before.ShellForm {
			t.Errorf("%s: %q leads to %+v", text, argv, after)
		}
	}
}

func TestInspectUnderInit(t *testing.T) {
	t.Parallel()
	tini, err := exec.LookPath("tini")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	dockerInit := filepath.Join(dir, "docker-init") // docker run --init
	if err := os.Symlink(tini, dockerInit); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{
		{"tini", "--", "$TEST"},
		{"tini", "-g", "--", "dash", "-c", "$TEST; true"},
		{dockerInit, "--", "$TEST"},
		{"dumb-init", "--", "$TEST"},
		{"catatonit", "--", "$TEST"},
	} {
		t.Run(filepath.Base(argv[0]), func(t *testing.T) {
			got := inspected(t, under(t, nstest.Command(t, "inspect"), argv...))
			if want := filepath.Base(argv[0]); got.InitName != want || got.Init {
				t.Errorf("PID 1: got %q, %v; want %q", got.InitName, got.Init, want)
			}
			if got.Warning != "" || got.ShellForm || got.ShellScript || len(got.Zombies) > 0 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func inspectIgnoring() int {
	signal.Ignore(syscall.SIGUSR1, syscall.SIGTERM)
	return inspectHelper()
}

func TestInspectSignals(t *testing.T) {
	nstest.SkipEmulated(t, "catches some signals that the program ignores")
	t.Parallel()
	env, err := exec.LookPath("env")
	if err == nil {
		err = exec.Command(env, "--block-signal=USR2", "true").Run() // GNU coreutils ≥ 8.31
	}
	if err != nil {
		t.Skip("env --block-signal:", err)
	}
	cmd := nstest.Child(t, "inspect-ignoring")
	cmd.Args = []string{env, "--ignore-signal=HUP", "--block-signal=USR2,RTMIN+3", cmd.Path}
	cmd.Path = env
	got := inspected(t, cmd)
	ignored := []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGTERM}
	blocked := []syscall.Signal{syscall.SIGUSR2, 37}
	if !slices.Equal(got.Ignored, ignored) || !slices.Equal(got.Blocked, blocked) {
		t.Errorf("got ignored %v, blocked %v; want %v, %v", got.Ignored, got.Blocked, ignored, blocked)
	}

	got = inspected(t, nstest.Child(t, "inspect"))
	if len(got.Ignored) > 0 || len(got.Blocked) > 0 {
		t.Skip("the test itself was started with", got.Ignored, "ignored and", got.Blocked, "blocked")
	}
}

func inspectSubreaper() int {
	if err := linux.SetSubreaper(true); err != nil {
		return fail(err)
	}
	return inspectHelper()
}

func TestInspectSubreaper(t *testing.T) {
	nstest.SkipEmulated(t, "refuses PR_SET_CHILD_SUBREAPER")
	t.Parallel()
	if got := inspected(t, nstest.Child(t, "inspect-subreaper")); !got.Subreaper {
		t.Errorf("got %+v", got)
	}
	if got := inspected(t, nstest.Child(t, "inspect")); got.Subreaper {
		t.Errorf("not set: got %+v", got)
	}
}

// inspectZombies has two zombies, and a shell with one.
func inspectZombies() int {
	for range 2 {
		cmd := exec.Command("true")
		if err := cmd.Start(); err != nil {
			return fail(err)
		}
	}
	shell := exec.Command("sh", "-c", "sleep 1000 & echo $!; exec sleep 1000")
	out, err := shell.StdoutPipe()
	if err == nil {
		err = shell.Start()
	}
	if err != nil {
		return fail(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fail(err)
	}
	background, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return fail(err)
	}

	// The shell would reap it; sleep does not.
	parent := shell.Process.Pid
	eventually(func() bool {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
		return string(name) == "sleep\n"
	})
	syscall.Kill(background, syscall.SIGKILL)

	var e pid1.Environment
	eventually(func() bool {
		e = pid1.Inspect()
		return len(e.Zombies) == 2 && e.Zombies[0].Count == 2
	})
	want := []pid1.Zombies{{Parent: 1, Name: e.InitName, Count: 2, Ours: true}, {Parent: parent, Name: "sleep", Count: 1}}
	if !slices.Equal(e.Zombies, want) {
		return fail(fmt.Errorf("got %+v, want %+v", e.Zombies, want))
	}
	return 0
}

// eventually waits for what comes true without an event to wait for.
func eventually(ok func() bool) {
	for end := time.Now().Add(20 * time.Second); !ok() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

func TestInspectZombies(t *testing.T) {
	t.Parallel()
	if out, err := nstest.Command(t, "inspect-zombies").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// inspectCgroup moves into the cgroup of its argument first.
func inspectCgroup() int {
	if err := os.WriteFile(filepath.Join(os.Args[1], "cgroup.procs"), []byte("0"), 0); err != nil {
		return fail(err)
	}
	return inspectHelper()
}

func TestInspectPidsMax(t *testing.T) {
	t.Parallel()
	root := "/sys/fs/cgroup/pids"
	if _, err := os.Stat(root); err != nil {
		root = "/sys/fs/cgroup"
	}
	group, err := os.MkdirTemp(root, "entrypoint-test")
	if err != nil {
		t.Skip(err)
	}
	defer os.Remove(group)
	child := filepath.Join(group, "child")
	if err := os.WriteFile(filepath.Join(group, "pids.max"), []byte("77"), 0); err != nil {
		t.Skip(err)
	}
	if err := os.Mkdir(child, 0o755); err != nil {
		t.Skip(err)
	}
	defer os.Remove(child)

	// The lowest limit above counts.
	for _, tt := range []struct {
		dir  string
		want int64
	}{{group, 77}, {child, 77}} {
		if got := inspected(t, nstest.Child(t, "inspect-cgroup", tt.dir)); got.PidsMax != tt.want {
			t.Errorf("%s: got %d, want %d", tt.dir, got.PidsMax, tt.want)
		}
	}
	if got := inspected(t, nstest.Child(t, "inspect")); got.PidsMax == 77 {
		t.Error("the limit is found outside of the group")
	}
}

// On a kernel that is not Linux: gVisor has another /proc, and no masks in it.
func TestInspectOnGVisor(t *testing.T) {
	nstest.SkipEmulated(t, "is started by the kernel of the host, and not by gVisor's")
	t.Parallel()
	runsc, err := exec.LookPath("runsc")
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs runsc and root:", err)
	}
	if strconv.IntSize != 64 {
		t.Skip("gVisor runs no 32-bit programs")
	}
	cmd := nstest.Child(t, "inspect")
	cmd.Args = []string{runsc, "--platform=ptrace", "--network=none", "do", "sh", "-c", cmd.Path + "; true"}
	cmd.Path = runsc
	cmd.Stderr = io.Discard
	out, err := cmd.Output()
	if err != nil {
		t.Skip("runsc do:", err)
	}
	var got finding
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !got.GVisor || got.InitName != "sh" || !got.ShellForm || !slices.Contains(got.Unknown, "ignored and blocked signals") {
		t.Errorf("got %+v", got)
	}
	if got := inspected(t, nstest.Child(t, "inspect")); got.GVisor {
		t.Error("this kernel is not gVisor's")
	}
}

func BenchmarkInspect(b *testing.B) {
	for b.Loop() {
		pid1.Inspect()
	}
}
