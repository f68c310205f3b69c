// SPDX-License-Identifier: MIT

package pid1_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
)

func init() {
	helpers["exec on another thread"] = execOnAnotherThread
	helpers["death signal"] = deathSignal
}

// The signal at the death of the parent belongs to a thread. The program gets it
// whichever thread calls Exec.
func TestExecDeathSignal(t *testing.T) {
	t.Parallel()
	cmd := nstest.Child(t, "exec on another thread")
	setPdeathsig(t, cmd)
	runtime.LockOSThread() // whose death it is
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if want := fmt.Sprintln(int(cmd.SysProcAttr.Pdeathsig)); err != nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}

func execOnAnotherThread() int {
	os.Setenv("ENTRYPOINT_NSTEST_HELPER", "death signal")
	runtime.LockOSThread() // this one is the first
	failed := make(chan error)
	go func() { failed <- pid1.Exec("/proc/self/exe") }()
	fmt.Println(<-failed)
	return 1
}

// deathSignalAtStart is that of the first thread.
var deathSignalAtStart = getPdeathsig()

func deathSignal() int {
	fmt.Println(deathSignalAtStart)
	return 0
}

// Which string is too long, or that they are together.
func TestExecTooBig(t *testing.T) {
	const limit = 128 << 10
	if os.Getpagesize() != 4096 {
		t.Skip("the limit is another one")
	}
	for _, c := range []struct {
		args []string
		env  string
		want string
	}{
		{[]string{"true", strings.Repeat("x", limit)}, "", "argument 1 has 131072 bytes"},
		{[]string{"true"}, "BIG=" + strings.Repeat("x", limit), "variable BIG has 131076 bytes"},
		{append([]string{"true"}, strings.Fields(strings.Repeat(strings.Repeat("x", 100_000)+" ", 100))...), "", "together"},
	} {
		cmd := exec.Command(c.args[0], c.args[1:]...)
		if c.env != "" {
			cmd.Env = []string{c.env}
		}
		err := pid1.Command(cmd).ListenAndServe()
		if !errors.Is(err, syscall.E2BIG) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %.300v, want %q", err, c.want)
		}
	}
	if err := pid1.Exec("true", strings.Repeat("x", limit)); !strings.Contains(err.Error(), "argument 1 has") {
		t.Errorf("Exec: got %.300v", err)
	}
}

// The first bytes of a program are no text.
func TestExecELFStub(t *testing.T) {
	for _, text := range []string{"\x7fELF\x02\x01\x01", "\x7fELF"} {
		file := filepath.Join(t.TempDir(), "prog")
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		err := pid1.Exec(file)
		if !errors.Is(err, syscall.ENOEXEC) || !strings.Contains(err.Error(), "the rest is missing") {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func getPdeathsig() int {
	var s int32
	syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&s)), 0)
	return int(s)
}
