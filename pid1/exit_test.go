// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
)

func init() { helpers["exit"] = exitMain }

var exits = map[string]struct {
	err    error
	code   int
	logged bool // by Exit
}{
	"nil":                {nil, 0, false},
	"plain":              {errors.New("boom"), 1, true},
	"deadline":           {context.DeadlineExceeded, 124, true},
	"logged":             {pid1.Logged(errors.New("boom")), 1, false},
	"logged, of program": {pid1.Logged(&pid1.ServerError{Server: "s", Err: coded(42)}), 42, false},
	"logged and wrapped": {fmt.Errorf("serve: %w", pid1.Logged(coded(3))), 3, false},
	"all logged":         {errors.Join(pid1.Logged(coded(3)), pid1.Logged(errors.New("boom"))), 3, false},
	"one is not logged":  {errors.Join(pid1.Logged(coded(3)), errors.New("boom")), 3, true},
}

func exitMain() int {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	pid1.Exit(exits[os.Args[1]].err)
	return 99
}

func TestExit(t *testing.T) {
	for name, test := range exits {
		cmd := nstest.Child(t, "exit", name)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != test.code {
			t.Errorf("%s: exit code %d, want %d", name, got, test.code)
		}
		lines := strings.Count(stderr.String(), "\n")
		quoted := fmt.Sprint(test.err)
		if strings.ContainsAny(quoted, " \n") {
			quoted = fmt.Sprintf("%q", quoted)
		}
		record := fmt.Sprintf("level=ERROR msg=\"exiting with an error\" error=%s exit_code=%d", quoted, test.code)
		switch {
		case !test.logged && lines != 0:
			t.Errorf("%s: logged again: %s", name, &stderr)
		case test.logged && (lines != 1 || !strings.Contains(stderr.String(), record)):
			t.Errorf("%s: got log %s, want one record with %s", name, &stderr, record)
		}
	}
}

// What Run has wrapped is found by errors.Is and errors.As.
func TestLogged(t *testing.T) {
	err := pid1.Logged(fmt.Errorf("%w: %w", pid1.ErrForced, &pid1.SignalError{Signal: os.Interrupt}))
	var by *pid1.SignalError
	if !errors.Is(err, pid1.ErrForced) || !errors.As(err, &by) || by.Signal != os.Interrupt {
		t.Errorf("got %#v", err)
	}
	if got, want := err.Error(), errors.Unwrap(err).Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
