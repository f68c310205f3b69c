// SPDX-License-Identifier: MIT

package nstest_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

func TestMain(m *testing.M) {
	nstest.Main(helpers())
	goleak.VerifyTestMain(m)
}

// inEveryMode are the helpers that also run as a plain child.
var inEveryMode = map[string]func() int{
	"args": func() int {
		fmt.Printf("%q", os.Args[1:])
		return 0
	},
	"code": func() int { return 42 },
	"env": func() int {
		for _, name := range []string{"ENTRYPOINT_NSTEST_HELPER", "ENTRYPOINT_NSTEST_PROC", "ENTRYPOINT_NSTEST_TIME"} {
			if value, ok := os.LookupEnv(name); ok {
				fmt.Println(name, "is still set:", value)
			}
		}
		return 0
	},
	"pid": func() int {
		fmt.Print(os.Getpid())
		return 0
	},
}

func TestChild(t *testing.T) {
	out, err := nstest.Child(t, "args", "-test.run=x", "a b").Output()
	if got, want := string(out), `["-test.run=x" "a b"]`; err != nil || got != want {
		t.Errorf("arguments: got %s, %v; want %s", got, err, want)
	}

	cmd := nstest.Child(t, "code")
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 42 {
		t.Errorf("exit code: got %v, want 42", err)
	}

	if out, err := nstest.Child(t, "env").CombinedOutput(); err != nil || len(out) != 0 {
		t.Errorf("environment: got %q, %v; want nothing left of nstest", out, err)
	}

	cmd = nstest.Child(t, "pid")
	out, err = cmd.Output()
	if got, want := string(out), fmt.Sprint(cmd.Process.Pid); err != nil || got != want {
		t.Errorf("pid: got %s, %v; want %s", got, err, want)
	}
}

func TestUnknownHelper(t *testing.T) {
	cmd := nstest.Child(t, "nobody")
	out, err := cmd.CombinedOutput()
	if got, want := string(out), "nstest: no helper is called \"nobody\"\n"; err == nil || got != want {
		t.Errorf("got %q, %v; want %q and a failure", got, err, want)
	}
}
