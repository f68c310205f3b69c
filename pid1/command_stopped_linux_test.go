// SPDX-License-Identifier: MIT

package pid1_test

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

func init() { helpers["isolated command"] = isolatedCommand }

func isolatedCommand() int {
	os.Setenv("ENTRYPOINT_NSTEST_HELPER", "isolated command") // for the child, which is the test binary again
	app := pid1.App{Logger: slog.New(slog.DiscardHandler), OnReport: func(*shutdown.Report) {}}
	cmd := exec.Command("sh", "-c", os.Args[1])
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return pid1.ExitCode(app.RunIsolated(context.Background(), pid1.Command(cmd)))
}

// An init gives its child a process group, and has no job control: nobody would
// continue this process, so it does not stop with its child.
func TestCommandContinuedUnderInit(t *testing.T) {
	t.Parallel()
	// The other process continues the shell and not this program.
	const script = `
		(until grep -q '^State:.T' /proc/$$/status; do sleep 0.01; done; kill -CONT $$) &
		kill -TSTP $$; echo on; exit 3`
	tini, noTini := exec.LookPath("tini")
	for name, helper := range map[string]string{"RunIsolated": "isolated command", "tini": "command"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := nstest.Command(t, helper, script)
			if name == "tini" {
				if noTini != nil {
					t.Skip(noTini)
				}
				cmd.Args = append([]string{tini, "--", cmd.Path}, cmd.Args[1:]...)
				cmd.Path = tini
			}
			timeout := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
			defer timeout.Stop()
			out, err := cmd.Output()
			if string(out) != "on\n" || cmd.ProcessState.ExitCode() != 3 {
				t.Errorf("got %q, %v; want on and exit status 3: was the app stopped for ever?", out, err)
			}
		})
	}
}
