package pid1

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/entrypoint-go/entrypoint/reaper"
)

// isolate is Run of a PID 1 with Isolate. The servers' process is a Child with
// nothing around it: it gets every signal, and its stop is its own affair.
func (a *App) isolate(ctx context.Context) error {
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("pid1: App.Isolate: the path of this program: %w", err)
	}
	child := &Child{Cmd: &exec.Cmd{
		Path: path, Args: os.Args,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}}

	signals := make(chan os.Signal, 64)
	signal.Notify(signals, child.signals()...)
	defer signal.Stop(signals)
	stopOnEnd := context.AfterFunc(ctx, func() { child.signal(syscall.SIGTERM) })
	defer stopOnEnd()
	defer a.reap()()

	ended := make(chan error, 1)
	go func() { ended <- child.ListenAndServe() }()
	var stopped time.Time // when the first stop signal came
	for {
		select {
		case sig := <-signals:
			if stopped.IsZero() && slices.Contains(a.stopSignals(), sig) {
				stopped = time.Now()
			}
			child.signal(sig)
		case err := <-ended:
			a.terminate(stopped)
			if err != nil {
				return &ServerError{Server: child.name(), Err: err}
			}
			return nil
		}
	}
}

// terminate ends what the servers' process has left, in what it has left of the
// grace period.
func (a *App) terminate(stopped time.Time) {
	plan, err := a.Shutdown.Plan(0, 1)
	if err != nil {
		return // the servers' process has refused that
	}
	if stopped.IsZero() {
		stopped = time.Now()
	}
	ctx, cancel := context.WithDeadline(context.Background(), stopped.Add(plan.Grace-plan.Grace/20))
	defer cancel()
	if err := reaper.Terminate(ctx); err != nil {
		a.log().Warn("processes are left", "error", err)
	}
}
