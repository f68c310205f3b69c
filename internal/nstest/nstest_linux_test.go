// SPDX-License-Identifier: MIT

package nstest_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/internal/sig"
)

func helpers() map[string]func() int {
	all := maps.Clone(inEveryMode)
	all["proc"] = showProc
	all["adopt"] = adopt
	all["parent"] = parent
	all["family"] = family
	all["hang"] = hang
	all["ignored"] = func() int {
		fmt.Println(sig.IgnoredAtStart().Signals())
		return 0
	}
	return all
}

func TestPID1(t *testing.T) {
	out, err := nstest.Command(t, "pid").Output()
	if got, want := string(out), "1"; err != nil || got != want {
		t.Errorf("got pid %s, %v; want %s", got, err, want)
	}
}

func TestExitCode(t *testing.T) {
	cmd := nstest.Command(t, "code")
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 42 {
		t.Errorf("got %v, want 42", err)
	}
}

// showProc prints the processes that /proc has, and the number by which
// /proc knows this one.
func showProc() int {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	self, err := os.Readlink("/proc/self")
	fmt.Print(len(processes), " ", self, " ", err)
	return 0
}

func TestFreshProc(t *testing.T) {
	out, err := nstest.Command(t, "proc").Output()
	if got, want := string(out), "1 1 <nil>"; err != nil || got != want {
		t.Errorf("/proc: got %q, %v; want %q", got, err, want)
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Errorf("the helper's /proc has reached ours: %v", err)
	}
}

func TestHostProc(t *testing.T) {
	cmd := nstest.CommandWithHostProc(t, "proc")
	out, err := cmd.Output()
	if got, want := string(out), fmt.Sprintf(" %d <nil>", cmd.Process.Pid); err != nil || !strings.HasSuffix(got, want) {
		t.Errorf("/proc: got %q, %v; want %q at the end", got, err, want)
	}
}

// adopt starts a child that starts a grandchild and exits. It prints who is
// the grandchild's parent then, and collects it with plain wait.
func adopt() int {
	out, err := again("parent").Output()
	if err != nil {
		fmt.Print(err)
		return 1
	}
	var orphan int
	fmt.Sscan(string(out), &orphan)
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", orphan))
	_, after, _ := strings.Cut(string(stat), ") ") // state, parent, …
	fmt.Print("parent ", strings.Fields(after + " ? ?")[1])

	syscall.Kill(orphan, syscall.SIGKILL)
	got, err := syscall.Wait4(orphan, nil, 0, nil)
	fmt.Print(", collected ", got == orphan, " ", err)
	return 0
}

func parent() int {
	child := again("hang")
	if err := child.Start(); err != nil {
		fmt.Print(err)
		return 1
	}
	fmt.Print(child.Process.Pid)
	return 0
}

// family starts a child that prints ready, and stays.
func family() int {
	child := again("hang")
	child.Stdout = os.Stdout
	if err := child.Run(); err != nil {
		fmt.Print(err)
	}
	return 1
}

// again is this binary as another helper, in this same namespace.
func again(helper string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "ENTRYPOINT_NSTEST_HELPER="+helper)
	return cmd
}

// What ignores signals, nohup or a CI runner, hands that down to the tests, and
// they not to the helpers.
func TestDefaultSignals(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `trap "" HUP INT TSTP; exec "$0" -test.run=^TestPrintIgnored$ -test.v`, self)
	cmd.Env = append(os.Environ(), "NSTEST_PRINT_IGNORED=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "helper ignores: []\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestPrintIgnored(t *testing.T) {
	if os.Getenv("NSTEST_PRINT_IGNORED") == "" {
		t.Skip("a part of TestDefaultSignals")
	}
	out, err := nstest.Child(t, "ignored").CombinedOutput()
	fmt.Printf("helper ignores: %s%v\n", out, err)
}

// A helper whose test binary cannot end it ends by itself, and says where it was.
func TestOwnDeadline(t *testing.T) {
	cmd := nstest.Child(t, "hang")
	cmd.Env = append(cmd.Env, "ENTRYPOINT_NSTEST_TIME=100ms")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), `helper "hang" hangs`) {
		t.Errorf("%v\n%s", err, out)
	}
}

func hang() int {
	fmt.Println("ready")
	for {
		syscall.Pause()
	}
}

func TestOrphansAreAdopted(t *testing.T) {
	out, err := nstest.Command(t, "adopt").CombinedOutput()
	if got, want := string(out), "parent 1, collected true <nil>"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestKillEndsTheNamespace(t *testing.T) {
	killAndAwaitEnd(t, nstest.Command(t, "family"))
}

// A test binary that dies without its cleanups takes its helpers along.
func TestTestBinaryKilled(t *testing.T) {
	nstest.SkipEmulated(t, "refuses clone(CLONE_NEWPID)")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestUntilKilled$")
	cmd.Env = append(os.Environ(), "NSTEST_UNTIL_KILLED=1")
	killAndAwaitEnd(t, cmd)
}

func TestUntilKilled(t *testing.T) {
	if os.Getenv("NSTEST_UNTIL_KILLED") == "" {
		t.Skip("a part of TestTestBinaryKilled")
	}
	cmd := nstest.Command(t, "family")
	cmd.Stdout = os.Stdout
	t.Fatal(cmd.Run())
}

// killAndAwaitEnd kills cmd once its hanging descendant has said ready. All of
// them share one stdout, so its end of file means that all are gone.
func killAndAwaitEnd(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stdout)
	line, err := out.ReadString('\n')
	if line != "ready\n" {
		t.Errorf("got %q, %v; want ready", line, err)
	}
	cmd.Process.Kill()
	if _, err := io.ReadAll(out); err != nil {
		t.Error(err)
	}
	cmd.Wait()
}

// All of the above once more for a user without privileges.
func TestOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to become somebody else; run by an ordinary user the other tests are the test")
	}
	nstest.SkipEmulated(t, "refuses clone(CLONE_NEWPID)")
	const nobody = 65534
	cmd := exec.Command(publicCopy(t), "-test.v", "-test.run=^(TestPID1|TestExitCode|TestFreshProc|TestHostProc|TestOrphansAreAdopted|TestKillEndsTheNamespace|TestTestBinaryKilled)$")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "TMPDIR=/tmp")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	}
}

// publicCopy is this test binary where everybody can execute it: go test
// builds in a directory of mode 0700, and so does t.TempDir.
func publicCopy(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nstest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.ReadFile("/proc/self/exe")
	copied := filepath.Join(dir, "test")
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(copied, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	return copied
}
