package reaper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

// killWait is how long the end of a process may take after SIGKILL: it frees
// its memory first, and may be in a system call that cannot be interrupted.
const killWait = 500 * time.Millisecond

func terminate(ctx context.Context) error {
	return terminateWith(ctx, killWait)
}

func terminateWith(ctx context.Context, killWait time.Duration) error {
	child := make(chan os.Signal, 1)
	signal.Notify(child, unix.SIGCHLD)
	defer signal.Stop(child)

	if err := linux.CheckProc(); err != nil {
		if os.Getpid() == 1 {
			terminateUnseen(ctx, child)
		}
		return fmt.Errorf("reaper: Terminate: cannot tell which processes are left: %w", err)
	}
	if os.Getpid() != 1 {
		release, err := adopt()
		if err != nil {
			return fmt.Errorf("reaper: Terminate: become a subreaper: %w", err)
		}
		defer release()
	}

	t := terminator{signal: unix.SIGTERM, sent: map[identity]bool{}, ended: make(chan struct{}, 1)}
	defer t.close()
	deadline := ctx.Done()
	var giveUp <-chan time.Time
	for {
		left, fresh, none := t.round()
		if none {
			return nil
		}
		select {
		case <-fresh: // who was signalled just now may have forked before
		case <-child:
		case <-t.ended:
		case <-t.tick():
		case <-deadline:
			deadline = nil
			giveUp = time.After(killWait)
			t.kill()
		case <-giveUp:
			return fmt.Errorf("reaper: Terminate: left %v after SIGKILL: PID %v", killWait, pids(left))
		}
	}
}

// terminateUnseen is for a PID 1 that cannot list the others. kill also counts
// zombies as processes, so it mostly takes until ctx ends.
func terminateUnseen(ctx context.Context, child <-chan os.Signal) {
	unix.Kill(-1, unix.SIGTERM)
	unix.Kill(-1, unix.SIGCONT)
	for unix.Kill(-1, 0) == nil {
		select {
		case <-child:
		case <-ctx.Done():
			unix.Kill(-1, unix.SIGKILL)
			return
		}
	}
}

// identity distinguishes a process from a later one with the same number.
type identity struct {
	pid   int
	start uint64
}

func identify(p linux.Process) identity { return identity{p.PID, p.Start} }

// A terminator ends processes. It learns of their end by SIGCHLD: the last
// descendant to end is always a child of this process, because those of dead
// parents are adopted. A process that entered the PID namespace of a PID 1 from
// outside (docker exec) is no descendant; its parent is shown as 0. The
// terminator holds pidfds of those.
type terminator struct {
	signal  syscall.Signal
	sent    map[identity]bool // who has got the signal
	watched map[identity]*os.File
	ended   chan struct{} // one of the watched has ended
	poll    bool          // for one that cannot be watched
	own     *sweeper      // collects when no Reaper is running
}

// round collects the dead and signals the living. fresh is ready when any of
// them had not been signalled before, or when some must have been missed.
func (t *terminator) round() (left []linux.Process, fresh <-chan time.Time, none bool) {
	// The lock also hides the pidfds below from a Reaper, which would take them
	// for those of owners.
	process.Lock()
	defer process.Unlock()
	t.collect()
	if t.signal == unix.SIGKILL {
		// Reading all of /proc is slow. Processes that fork and exit without
		// end would be gone before they are on the list; but with every exit
		// the next one is our child.
		for end := time.Now().Add(5 * time.Millisecond); killChildren() > 0 && time.Now().Before(end); {
		}
	}
	left, none = running()
	for none && t.collect() {
		// Some died after the sweep above. They are collected before we return.
	}
	if !none && len(left) == 0 {
		fresh = time.After(time.Millisecond)
	}
	for _, p := range left {
		if t.sent[identify(p)] {
			continue
		}
		t.sent[identify(p)] = true
		t.send(p)
		t.watch(p)
		fresh = time.After(time.Millisecond)
	}
	return left, fresh, none
}

// collect makes one sweep, and reports whether another may find more.
func (t *terminator) collect() bool {
	s := process.sweeper
	if s == nil && t.own == nil {
		// Run, not Terminate, logs what this system lacks.
		t.own, _ = newSweeper(&Reaper{Logger: slog.New(slog.DiscardHandler)}, standard)
	}
	if s == nil {
		s = t.own
	}
	if s == nil {
		return false // zombies stay; they do not count
	}
	collected, left := s.sweep()
	return left && collected > 0
}

// send signals p and nobody else: the pidfd pins a process before the
// comparison shows that it is p.
func (t *terminator) send(p linux.Process) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	if now, err := linux.ReadProcess(p.PID); err != nil || identify(now) != identify(p) {
		return
	}
	send := func(s syscall.Signal) {
		// A seccomp profile may refuse either call. Not after ESRCH: then the
		// number may be somebody else's by now.
		if fd < 0 || refused(unix.PidfdSendSignal(fd, s, nil, 0)) {
			unix.Kill(p.PID, s)
		}
	}
	send(t.signal)
	if t.signal == unix.SIGTERM {
		send(unix.SIGCONT) // a stopped process keeps the SIGTERM for later
	}
}

func refused(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS)
}

// kill sends SIGKILL from now on.
func (t *terminator) kill() {
	t.signal = unix.SIGKILL
	clear(t.sent)
	if os.Getpid() == 1 {
		// To all at once: nobody can fork between two signals. Only PID 1 may
		// use -1, elsewhere it means every process of the user.
		unix.Kill(-1, unix.SIGKILL)
	}
}

// killChildren sends SIGKILL to the children of the leader thread, and returns
// how many of them were alive.
func killChildren() (alive int) {
	leader, err := openChildren(os.Getpid())
	if err != nil {
		return 0
	}
	defer leader.close()
	for _, pid := range leader.list(0) {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if isChild(fd) && linux.Peek(unix.P_PIDFD, fd) == 0 {
			alive++
			unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		unix.Close(fd)
	}
	return alive
}

// watch makes ended report the end of p, if that brings no SIGCHLD.
func (t *terminator) watch(p linux.Process) {
	if p.Parent != 0 || t.watched[identify(p)] != nil {
		return
	}
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		t.poll = true
		return
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if t.watched == nil {
		t.watched = map[identity]*os.File{}
	}
	t.watched[identify(p)] = f
	conn, err := f.SyscallConn()
	if err != nil {
		t.poll = true
		return
	}
	go func() {
		conn.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || err != nil
		})
		select {
		case t.ended <- struct{}{}:
		default:
		}
	}()
}

// tick replaces a pidfd that could not be opened.
func (t *terminator) tick() <-chan time.Time {
	if !t.poll {
		return nil
	}
	return time.After(5 * time.Millisecond)
}

func (t *terminator) close() {
	for _, f := range t.watched {
		f.Close()
	}
	if t.own != nil {
		t.own.close()
	}
}

// running returns the processes that Terminate is for and that are not dead.
// A process that gets a new parent while /proc is read may be missing from the
// list. none is certain.
func running() (left []linux.Process, none bool) {
	// Every living descendant has a line of living parents up to this process.
	alive := anyAlive()
	if !alive && (os.Getpid() != 1 || unix.Kill(-1, 0) == unix.ESRCH) {
		return nil, true
	}
	all := linux.Processes()
	parent := make(map[int]int, len(all))
	for _, p := range all {
		parent[p.PID] = p.Parent
	}
	for _, p := range all {
		if !p.Dead() && mayEnd(p, parent) {
			left = append(left, p)
		}
	}
	return left, !alive && len(left) == 0
}

// mayEnd reports whether p is one that Terminate may end.
func mayEnd(p linux.Process, parent map[int]int) bool {
	const kernelThread = 0x00200000 // PF_KTHREAD; a PID 1 of a machine sees them
	self := os.Getpid()
	if self == 1 {
		return p.PID != 1 && p.Flags&kernelThread == 0
	}
	pid := p.PID
	for range parent { // bounded: numbers may be reused while /proc is read
		if pid = parent[pid]; pid == self {
			return true
		}
	}
	return false
}

func pids(all []linux.Process) (pids []int) {
	for _, p := range all {
		pids = append(pids, p.PID)
	}
	return pids
}
