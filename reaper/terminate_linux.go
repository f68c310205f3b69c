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
)

// killWait is how long the end of a process may take after SIGKILL: it frees
// its memory first, and may be in a system call that cannot be interrupted.
const killWait = 500 * time.Millisecond

func terminate(ctx context.Context) error {
	return terminatePatiently(ctx, killWait)
}

func terminatePatiently(ctx context.Context, killWait time.Duration) error {
	child := make(chan os.Signal, 1)
	signal.Notify(child, unix.SIGCHLD)
	defer signal.Stop(child)

	if err := checkProc(); err != nil {
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

// terminateUnseen is for a PID 1 that cannot see the others. Zombies count
// as somebody for kill, so mostly it takes until ctx ends.
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

// identity tells a process from a later one with the same number.
type identity struct {
	pid   int
	start uint64
}

func (p processInfo) identity() identity { return identity{p.pid, p.start} }

// A terminator ends processes. Whose end it hears of: the last descendant to
// end is always a child of this process, because those of dead parents are
// adopted, so there is a SIGCHLD. That is not so for a process that entered
// the PID namespace of a PID 1 from outside (docker exec); its parent is
// outside too, and shows as 0. Of those it holds pidfds.
type terminator struct {
	signal  syscall.Signal
	sent    map[identity]bool // who has had the signal
	watched map[identity]*os.File
	ended   chan struct{} // one of the watched has ended
	poll    bool          // one cannot be watched
	own     *sweeper      // collects when no Reaper is running
}

// round collects the dead and signals the living. fresh is ready when any of
// them had not been signalled before, or when some must have been missed.
func (t *terminator) round() (left []processInfo, fresh <-chan time.Time, none bool) {
	// The lock also keeps the pidfds below out of sight of a Reaper, which
	// would take them for owners'.
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
		if t.sent[p.identity()] {
			continue
		}
		t.sent[p.identity()] = true
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
		// What is missing here is for Run to say.
		t.own, _ = newSweeper(&Reaper{Logger: slog.New(slog.DiscardHandler)}, patience)
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
func (t *terminator) send(p processInfo) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	if now, err := readProcess(p.pid); err != nil || now.identity() != p.identity() {
		return
	}
	send := func(s syscall.Signal) {
		// A seccomp profile may refuse either call. Not after ESRCH: then the
		// number may be somebody else's by now.
		if fd < 0 || refused(unix.PidfdSendSignal(fd, s, nil, 0)) {
			unix.Kill(p.pid, s)
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

// kill goes over to SIGKILL.
func (t *terminator) kill() {
	t.signal = unix.SIGKILL
	clear(t.sent)
	if os.Getpid() == 1 {
		// At one stroke: nobody can fork between two signals. Only PID 1
		// may say -1, elsewhere it means every process of the user.
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
		if isChild(fd) && look(unix.P_PIDFD, fd) == 0 {
			alive++
			unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		unix.Close(fd)
	}
	return alive
}

// watch sees to it that ended tells of p, if p is not one of those whose end
// brings a SIGCHLD.
func (t *terminator) watch(p processInfo) {
	if p.parent != 0 || t.watched[p.identity()] != nil {
		return
	}
	fd, err := unix.PidfdOpen(p.pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		t.poll = true
		return
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if t.watched == nil {
		t.watched = map[identity]*os.File{}
	}
	t.watched[p.identity()] = f
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

// tick stands in for a pidfd that could not be had.
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
// The list is as good as /proc: who gets a new parent while it is read may be
// missing. That nobody at all is left is certain.
func running() (left []processInfo, none bool) {
	// Every descendant that lives has a line of living parents up to us.
	alive := anyAlive()
	if !alive && (os.Getpid() != 1 || unix.Kill(-1, 0) == unix.ESRCH) {
		return nil, true
	}
	all := processes()
	parent := make(map[int]int, len(all))
	for _, p := range all {
		parent[p.pid] = p.parent
	}
	for _, p := range all {
		if !p.dead() && mayEnd(p, parent) {
			left = append(left, p)
		}
	}
	return left, !alive && len(left) == 0
}

// mayEnd reports whether p is one that Terminate may end.
func mayEnd(p processInfo, parent map[int]int) bool {
	const kernelThread = 0x00200000 // PF_KTHREAD; a PID 1 of a machine sees them
	self := os.Getpid()
	if self == 1 {
		return p.pid != 1 && p.flags&kernelThread == 0
	}
	pid := p.pid
	for range parent { // numbers may be reused while we look: no endless loop
		if pid = parent[pid]; pid == self {
			return true
		}
	}
	return false
}

// dead reports whether all threads have ended. The state is the leader's.
func (p processInfo) dead() bool {
	return (p.state == 'Z' || p.state == 'X') && p.threads <= 1
}

func pids(all []processInfo) (pids []int) {
	for _, p := range all {
		pids = append(pids, p.pid)
	}
	return pids
}
