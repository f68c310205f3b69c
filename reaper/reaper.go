// SPDX-License-Identifier: MIT

// Package reaper collects the orphans that die under this process, and never a
// child that somebody else in the program waits for. It is for programs that run
// as PID 1 of a container, or as a subreaper.
//
//	var r reaper.Reaper
//	go r.Run(ctx)
//
// Commands are run as in any program: there is nothing to register, and no lock
// around os/exec.
//
// # Which children are collected
//
// When a process ends before its children, the kernel gives them to PID 1 of the
// PID namespace, or to the nearest ancestor that is a subreaper. They stay
// zombies until that process waits for them. A zombie is collected when both
// facts hold:
//
//  1. It is a child of this process's first thread, where the kernel puts
//     orphans. A child that the program starts belongs to the thread that
//     started it, until that thread ends.
//  2. No descriptor of this process is a pidfd of it. Package os holds one for
//     every child that it starts, until Wait has returned or the os.Process is
//     released.
//
// So Wait may come late or never. Without pidfds (Linux before 5.4, old gVisor, some
// seccomp profiles) nobody can tell who owns a zombie: it is left alone for 30 s, and
// a Wait after that finds nothing. Run logs this once. Without children files in
// /proc, orphans are collected late, see [Reaper.Run].
//
// A dead child of another thread that lives, of which no pidfd is open, is collected
// after 5 minutes: it was released (os.Process.Release), or C code has yet to call
// pclose.
//
// # Limits
//
// [syscall.ForkExec], and C code that forks and waits, hold no pidfd. Such a
// child looks like an orphan if the first thread started it, or a thread that has
// ended. Set SysProcAttr.PidFD and keep that descriptor until the wait; run a
// program with such C code in a child process (pid1.App has RunIsolated).
//
// A /proc of this PID namespace must be mounted, as in every container.
package reaper

import (
	"context"
	"log/slog"
	"os"
	"sync"
)

// A Reaper collects orphans while its Run runs. The zero value is ready to use. A
// Reaper must not be copied after first use, and its fields must not be changed
// while Run runs. At most one can run in a process.
type Reaper struct {
	// Subreaper makes this process adopt orphaned descendants while Run runs,
	// also if it is not PID 1 (PR_SET_CHILD_SUBREAPER). The former state is
	// restored when Run returns. False: Run collects the orphans that the process
	// gets anyway, as PID 1 or if it was made a subreaper before its execve.
	Subreaper bool

	// OnReap is called once with every exit that was collected, in order of
	// collection, from one goroutine of its own. It may block or panic: reaping
	// goes on. 4096 exits can wait for it; what comes while that queue is full
	// is counted in Stats.Dropped. Nil: no calls.
	OnReap func(Exit)

	// Logger gets a record at the start (level Debug), and warnings: what this
	// system lacks, no descriptor left, a full queue, a panic of OnReap. It may block
	// or panic: reaping goes on. Nil: slog.Default().
	Logger *slog.Logger

	mu    sync.Mutex // guards the rest
	stats Stats
}

// An Exit says how a process that was collected ended.
type Exit struct {
	PID    int
	Code   int       // as os.ProcessState.ExitCode: 0 to 255, or -1 when a signal ended it
	Signal os.Signal // the signal that ended it, or nil
}

// Stats counts what a Reaper did since it was made.
type Stats struct {
	Reaped  uint64 // orphans collected
	Dropped uint64 // exits not passed to OnReap because its queue was full
}

// Run collects orphans until ctx ends, then returns nil. Orphans that died before
// are collected at once. Run sleeps while no child dies.
//
// A zombie with an owner that does not wait for it is examined again after 10 ms,
// 20 ms and so on up to 10 s, because the owner may release it without a sign.
// With thousands of descriptors or children, sweeps are rate-limited to 1 % of
// one processor over time: with 15,000 descriptors a zombie gets about 2.7 s old
// at most. With some hundred, each orphan is collected when it dies. What counts
// is the processor time that was measured, so slow descriptors count for more.
// Where /proc/<pid>/task/<tid>/children is missing, all processes have to be read to
// find a zombie, and it is collected after 30 s to 2 minutes.
//
// Run does not rely on SIGCHLD alone, which signal.Reset or C code may take away.
// It looks for a dead child after ten seconds in which nothing happened, then at
// longer intervals of up to a minute. If no signal came for one that is found,
// that is logged once, and from then on orphans are collected within a second.
//
// When ctx ends, Run gives OnReap 100 ms to see the exits that are queued. It
// leaves no goroutine and no thread behind, and forks nothing to that end. (After
// signal.Ignore of all signals, one thread sleeps on until a child dies.)
//
// Run does not need free descriptors, either. It keeps one, so that orphans are
// collected one by one when none is left; that is logged once. If there are too few
// when Run begins, it logs that and waits until there are some.
//
// Run returns an error at once, and has collected nothing, when a Reaper is
// running in this process already, when the process cannot be made a subreaper,
// when /proc is not mounted or belongs to another PID namespace (also logged, as
// a warning), and on systems other than Linux, where the error wraps
// [errors.ErrUnsupported].
func (r *Reaper) Run(ctx context.Context) error {
	return r.run(ctx)
}

// Stats returns the counts so far. It may be called at any time.
func (r *Reaper) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

func (r *Reaper) count(f func(*Stats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.stats)
}

func (r *Reaper) logger() *slog.Logger {
	if r.Logger != nil {
		return r.Logger
	}
	return slog.Default()
}

// Terminate ends the other processes: as PID 1 everything else in the PID
// namespace, elsewhere the descendants of this process and nothing else. It is
// meant as the last thing that a program does.
//
// Each process gets SIGTERM, and SIGCONT in case it is stopped. One that ignores
// SIGTERM and has a terminal, as an interactive shell, gets SIGHUP too. Terminate
// returns nil as soon as no process is left that runs. When ctx ends, those left
// get SIGKILL; half a second later Terminate gives up and returns an error with
// their process IDs. If ctx has ended already, SIGTERM and SIGKILL are sent at once.
//
// What may not be signalled, a process of another user, is named once in the log
// of the Reaper that is running, or in slog.Default(), and not waited for: by PID
// alone if it is a child that /proc does not show. The kernel ends it with PID 1.
//
// While it runs, this process adopts orphaned descendants, so that none escapes
// by the death of its parent. Zombies are collected by the rule of [Reaper.Run]:
// children of an exec.Cmd are ended like all others, and their exit statuses are
// left for Wait. A Reaper may be running; its OnReap sees what Terminate ends.
//
// If /proc is missing or belongs to another PID namespace, or no descriptor is left
// to read it, Terminate cannot list the processes. As PID 1 it then sends SIGTERM
// to all at once, and waits for its descendants; those that entered the container
// from outside are not waited for. Elsewhere it returns an error. (A Reaper that is
// running keeps a descriptor for Terminate.) On systems other than Linux the error
// wraps [errors.ErrUnsupported].
func Terminate(ctx context.Context) error {
	return terminate(ctx)
}
