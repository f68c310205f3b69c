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

	"github.com/entrypoint-go/entrypoint/internal/linux"
	"github.com/entrypoint-go/entrypoint/reaper"
)

// RunIsolated is Run with a minimal init as PID 1: it starts this program once
// more, with the same arguments and environment, and the servers run in that child.
// PID 1 passes signals on as a [Child] gets them, collects orphans, and returns
// the child's status. It is for programs whose C libraries fork and wait by
// themselves: to those, and to syscall.Wait4(-1, …), the orphans of a container are
// unknown children.
//
// What main does before RunIsolated is done in both processes, so call it early.
// Before steps and hooks run in the child only, OnReap in PID 1 only. Where the
// process is not PID 1, RunIsolated is Run.
func (a *App) RunIsolated(ctx context.Context, srv ...Server) error {
	if !IsInit() {
		return a.Run(ctx, srv...)
	}
	return a.once(func() error { return a.isolate(ctx) })
}

// isolate runs the servers in a child process that gets every signal and stops
// itself.
func (a *App) isolate(ctx context.Context) error {
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("pid1: App.RunIsolated: the path of this program: %w", err)
	}
	child := &Child{again: true, Cmd: &exec.Cmd{
		Path: path, Args: os.Args,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}}
	child.logTo(a.log())

	signals := make(chan os.Signal, 64)
	signal.Notify(signals, child.signals()...)
	defer stopLater(signals)
	stopOnEnd := context.AfterFunc(ctx, func() { child.signal(syscall.SIGTERM) })
	defer stopOnEnd()
	defer a.reap()()

	ended := make(chan error, 1)
	go func() { ended <- child.ListenAndServe() }()
	var stopped time.Time // when the first stop signal came
	var sent delivery
	for {
		select {
		case received := <-signals:
			if stopped.IsZero() && slices.Contains(a.stopSignals(), received) {
				stopped = time.Now()
				sent = newDelivery(nil)
			}
			child.signal(received)
		case err := <-ended:
			a.terminate(stopped, sent)
			if err != nil {
				return &ServerError{Server: child.name(), Err: err, program: true}
			}
			return nil
		}
	}
}

// terminate ends the processes that the servers' process left behind, in the
// rest of the grace period, and waits for what clients have not received.
func (a *App) terminate(stopped time.Time, sent delivery) {
	plan, err := a.Shutdown.Plan(0, 1)
	if err != nil {
		return // the servers' process has reported the error
	}
	if stopped.IsZero() {
		stopped = time.Now()
	}
	ctx, cancel := context.WithDeadline(context.Background(), stopped.Add(plan.Grace-plan.Grace/20))
	defer cancel()
	if err := reaper.Terminate(ctx); err != nil {
		a.log().Warn("some processes did not end", "error", err)
	}
	if err := sent.await(ctx, a); err != nil {
		a.log().Warn("some responses did not arrive", "error", err)
	}
}

// reap runs the reaper if it has anything to do, until the result is called.
func (a *App) reap() (end func()) {
	if !IsInit() && !a.Reaper.Subreaper {
		return func() {}
	}
	// The Reaper does this too, but later. What is orphaned before that is lost
	// to it.
	undo := func() {}
	if !IsInit() {
		undo = becomeSubreaper()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.Reaper.Run(ctx) // which has logged why it cannot run
	}()
	return func() {
		cancel()
		<-done
		undo()
	}
}

// becomeSubreaper makes this process adopt orphaned descendants until undo is
// called. Where it cannot, the Reaper reports the error.
func becomeSubreaper() (undo func()) {
	was, _ := linux.IsSubreaper()
	_ = linux.SetSubreaper(true)
	return func() { _ = linux.SetSubreaper(was) }
}
