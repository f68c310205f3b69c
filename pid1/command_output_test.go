// SPDX-License-Identifier: MIT

//go:build unix

package pid1_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// A firstLine is a Writer that calls f with the first line, without its end.
type firstLine struct {
	mu   sync.Mutex
	text bytes.Buffer
	f    func(string)
}

func (w *firstLine) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.text.String()
	w.text.Write(b)
	if line, _, ok := strings.Cut(w.text.String(), "\n"); ok && !strings.Contains(before, "\n") {
		w.f(line)
	}
	return len(b), nil
}

// With Cmd.WaitDelay the status counts, too, if another process holds the output.
func TestCommandWaitDelay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, script string
		want         int
	}{
		{"end", `sleep 60 & echo $!; exit 0`, 0},
		{"end with a status", `sleep 60 & echo $!; exit 3`, 3},
		{"stop", `trap 'exit 0' TERM; sleep 60 & echo $!; while :; do sleep 0.01; done`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var log bytes.Buffer
			cmd := exec.Command("sh", "-c", c.script)
			cmd.WaitDelay = 50 * time.Millisecond
			cmd.Stdout = &firstLine{f: func(line string) {
				var holder int
				fmt.Sscan(line, &holder)
				t.Cleanup(func() { syscall.Kill(holder, syscall.SIGKILL) })
				if c.name == "stop" {
					cancel()
				}
			}}
			app := pid1.App{Logger: slog.New(slog.NewTextHandler(&log, nil)), OnReport: func(*shutdown.Report) {}}
			child := pid1.Command(cmd)
			err := app.Run(ctx, child)
			if got := pid1.ExitCode(err); got != c.want || child.ExitCode() != c.want {
				t.Errorf("exit code %d, child's %d, want %d: %v", got, child.ExitCode(), c.want, err)
			}
			if told := strings.Contains(log.String(), "output may be incomplete"); told != (c.want == 0) {
				t.Errorf("the log says what is missing: %v:\n%s", told, &log)
			}
		})
	}
}
