// Package reaper collects the orphans that die under this process, and never
// a child that somebody else in the program waits for. It is like wait in a
// shell, for a program that runs as PID 1 of a container.
//
//	var r reaper.Reaper
//	go r.Run(ctx)
//
// # Which children are collected
//
// When a process ends before its children, the kernel gives them to PID 1 of
// the PID namespace, or to the nearest ancestor that is a subreaper. Each
// stays a zombie until that process waits for it. A program that also runs
// commands cannot wait for just any child: it would take the exit statuses
// that [os/exec.Cmd.Wait] waits for. So a zombie is collected only when two
// independent facts say that nobody in this program will wait for it:
//
//  1. It is a child of this process's first thread. That is where the kernel
//     puts orphans; a child that the program starts belongs to the thread
//     that started it, until that thread ends.
//  2. No descriptor of this process is a pidfd of it. Package os holds one
//     for every child it starts, from before the child's first instruction
//     until Wait has returned or the os.Process is released.
//
// There is no registry, no lock around exec and nothing to call: commands are
// run as in any program, and Wait may come late or never.
//
// Where one of the facts is not to be had, 30 seconds as a zombie stand in
// for it, much longer than a caller that waits would leave it: where package
// os has no pidfds (Linux before 5.4, gVisor before it had them, a seccomp
// profile that refuses pidfd_open), and where the kernel was built without
// /proc/<pid>/task/<tid>/children. Run logs that once. The same holds for a
// child that was released while it lived (see [os.Process.Release]) and
// belongs to another thread than the first: nobody can wait for it, but it is
// no orphan.
//
// # Limits
//
// Children that are started without package os have no pidfd while they are
// somebody's: by [syscall.ForkExec], or by C code that forks and waits. Those
// started on the first thread, or on a thread that has ended, look like
// orphans here. A caller of syscall.ForkExec can set SysProcAttr.PidFD and
// keep the descriptor open until it has waited. For C code, run the program
// in a child process (pid1.App has Isolate for that).
//
// A /proc of this PID namespace must be mounted, as in every container.
package reaper

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"
)

// A Reaper collects orphans while its Run runs. The zero value is ready to
// use. A Reaper must not be copied after first use, and its fields must not
// be changed while Run runs. There is at most one at work in a process.
type Reaper struct {
	// Subreaper makes Run adopt orphaned descendants also where this process
	// is not PID 1, by prctl(PR_SET_CHILD_SUBREAPER). The former state is
	// restored when Run returns. False: Run collects what the process is
	// given anyway, as PID 1 or as a subreaper by inheritance (the state
	// survives execve); elsewhere that is nothing, and costs nothing.
	Subreaper bool

	// OnReap is called with every exit that was collected, once each, in
	// order of collection, from one goroutine of its own. It may block or
	// panic: reaping goes on. Behind it 4096 exits can queue; what comes
	// while the queue is full is counted in Stats.Dropped. Nil: no calls.
	OnReap func(Exit)

	// Logger receives one record at the start (level Debug) and what a
	// person should know: what is missing on this system, a full queue, a
	// panic of OnReap. Nil: slog.Default().
	Logger *slog.Logger

	mu    sync.Mutex // guards stats
	stats Stats
}

// An Exit is the end of a process that was collected.
type Exit struct {
	PID    int
	Code   int       // as os.ProcessState.ExitCode: 0 to 255, or -1 when a signal ended it
	Signal os.Signal // the signal that ended it, or nil
}

// Stats counts what a Reaper did since it was made.
type Stats struct {
	Reaped  uint64        // orphans collected
	Spared  uint64        // dead children found to have an owner, and left to it
	Sweeps  uint64        // times the children were looked through
	Passes  uint64        // times the descriptors were looked through
	Dropped uint64        // exits not passed to OnReap because its queue was full
	Busy    time.Duration // processor time spent on sweeps
}

// Run collects orphans until ctx ends, then returns nil. Orphans that died
// before are collected at once. It sleeps while no child dies, until a SIGCHLD
// or, after an orphan, on a thread that the kernel wakes (waitid(2)): there is no
// timer, except while a zombie is left to an owner that has not waited yet.
// Such a zombie is looked at again after 10 ms, 20 ms and so on up to 10 s,
// because its owner may let go of it without a sign.
//
// Looking is bounded to 1 % of one processor over time where it takes long:
// with thousands of descriptors or children it is done less often than
// orphans die, and finds several at a time. With 15,000 descriptors a zombie
// gets about 2.7 seconds old at most. Below some hundred of them each orphan
// is collected when it dies.
//
// When ctx ends, Run gives OnReap 100 ms to see the exits that are queued. To
// end a sleep in the kernel a child has to die, so Run makes one, whose execve
// fails. Where it cannot (seccomp, a limit of processes) it returns all the same
// after 100 ms, and the thread sleeps on until a child dies.
//
// Run returns an error at once when a Reaper is running in this process
// already, when the process cannot be made a subreaper, when /proc is not
// mounted or belongs to another PID namespace (also logged, as a warning),
// and, wrapping [errors.ErrUnsupported], on systems other than Linux. It then
// has collected nothing.
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
// namespace, elsewhere the descendants of this process and nothing else. It
// is meant as the last thing that a program does.
//
// Each process gets SIGTERM, and SIGCONT in case it is stopped. Terminate
// returns nil as soon as none is left that runs. When ctx ends, those left
// get SIGKILL; half a second later Terminate gives up and returns an error
// with their process IDs. If ctx has ended already, SIGTERM and SIGKILL are
// sent at once.
//
// While it runs, a process other than PID 1 adopts orphaned descendants, so
// that none escapes by the death of its parent. Zombies are collected by the
// same rule as in [Reaper.Run]: the children of an exec.Cmd are ended like
// all others, and their exit statuses are left for Wait. A Reaper may be
// running; its OnReap sees what Terminate ends.
//
// Where /proc is missing or belongs to another PID namespace, Terminate
// cannot tell what is left: as PID 1 it sends SIGTERM to all, waits until
// ctx ends or nothing exists any more, sends SIGKILL, and returns an error;
// elsewhere it does nothing and returns an error. On systems other than
// Linux the error wraps [errors.ErrUnsupported].
func Terminate(ctx context.Context) error {
	return terminate(ctx)
}
