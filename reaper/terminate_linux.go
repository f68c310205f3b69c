// SPDX-License-Identifier: MIT

package reaper

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

const (
	// killWait is how long the end of a process may take after SIGKILL: it frees
	// its memory first, and may be in a system call that cannot be interrupted.
	killWait = 500 * time.Millisecond

	// The pauses between rounds without a sign. They are for ends that bring no
	// SIGCHLD, and last as many times as long as a round, too.
	minPause  = time.Millisecond
	maxPause  = 200 * time.Millisecond
	pollPause = 5 * time.Millisecond // for a process that cannot be watched
	perRound  = 50

	// enoughEmpty rounds in a row that find nobody alive are believed.
	enoughEmpty = 5
)

func terminate(ctx context.Context) error {
	return terminateWith(ctx, killWait)
}

func terminateWith(ctx context.Context, killWait time.Duration) error {
	child := make(chan os.Signal, 1)
	signal.Notify(child, unix.SIGCHLD)
	defer signal.Stop(child)

	t := terminator{signal: unix.SIGTERM, sent: map[identity]bool{}, denied: map[identity]bool{},
		sentChild: map[int]bool{}, ended: make(chan struct{}, 1), pause: minPause}
	defer t.close()
	t.noProc = linux.CheckProc()
	if linux.NoDescriptor(t.noProc) {
		t.noProc = nil // there may be one later
	}
	if os.Getpid() != 1 {
		if t.noProc != nil {
			return fmt.Errorf("reaper: Terminate: cannot tell which processes are left: %w", t.noProc)
		}
		release, err := linux.Adopt()
		if err != nil {
			return fmt.Errorf("reaper: Terminate: become a subreaper: %w", err)
		}
		defer release()
	}

	deadline := ctx.Done()
	var giveUp <-chan time.Time
	for {
		r, err := t.round()
		if r.none || err != nil {
			return err
		}
		select {
		case <-child:
		case <-t.ended:
		case <-time.After(t.pause):
		case <-deadline:
			deadline = nil
			giveUp = time.After(killWait)
			t.kill()
		case <-giveUp:
			return t.lastRounds(killWait)
		}
	}
}

// lastRounds looks once more, since the last look may be old, and where it finds nobody
// as often as it takes to be sure of that.
func (t *terminator) lastRounds(killWait time.Duration) error {
	for range enoughEmpty {
		r, err := t.round()
		if r.none || err != nil {
			return err
		}
		if len(r.left) > 0 {
			return fmt.Errorf("reaper: Terminate: left %v after SIGKILL: PID %v", killWait, pids(r.left))
		}
	}
	return fmt.Errorf("reaper: Terminate: left %v after SIGKILL: a process that /proc does not show", killWait)
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
// terminator holds pidfds of those. The pauses are for all other cases.
type terminator struct {
	signal    syscall.Signal
	sent      map[identity]bool // who has got the signal
	denied    map[identity]bool // who may not be signalled, and is not waited for
	sentChild map[int]bool      // children that /proc does not show
	sentAll   bool              // all at once, by PID 1
	noProc    error             // why the processes cannot be listed
	empty     int               // rounds in a row in which nobody was found
	pause     time.Duration     // until the next round

	watched map[identity]*os.File
	ended   chan struct{} // one of the watched has ended
	poll    bool          // for one that cannot be watched
	own     *sweeper      // collects when no Reaper is running
}

// A roundResult is what a round found.
type roundResult struct {
	left   []linux.Process // who is waited for
	none   bool            // nobody is left, also of those whom left cannot show
	fresh  bool            // some were signalled just now
	denied []linux.Process // who may not be signalled, and was not named before
	took   time.Duration   // processor time
}

// round collects the dead and signals the living.
func (t *terminator) round() (roundResult, error) {
	r, err := t.lockedRound()
	if len(r.denied) > 0 {
		warnDenied(r.denied)
	}

	// Who was signalled just now may have forked before.
	if t.pause *= 2; r.fresh || t.empty == 1 {
		t.pause = minPause
	}
	limit := maxPause
	if t.poll {
		limit = pollPause
	}
	t.pause = min(t.pause, limit)
	if t.empty == 0 { // else a few more rounds are all
		t.pause = max(t.pause, perRound*r.took)
	}
	if r.fresh {
		t.pause = minPause
	}
	return r, err
}

func (t *terminator) lockedRound() (r roundResult, err error) {
	// The lock also hides the pidfds below from a Reaper, which would take them
	// for those of owners.
	process.Lock()
	defer process.Unlock()
	runtime.LockOSThread() // processorTime is the thread's
	defer runtime.UnlockOSThread()
	start := processorTime()
	defer func() { r.took = processorTime() - start }()
	t.collect()
	if t.signal == unix.SIGKILL {
		// Reading all of /proc is slow. Processes that fork and exit without
		// end would be gone before they are on the list; but with every exit
		// the next one is our child.
		for end := time.Now().Add(5 * time.Millisecond); killChildren() > 0 && time.Now().Before(end); {
		}
	}
	// Every living descendant has a line of living parents up to this process.
	alive := anyAlive()
	all, err := t.list()
	if linux.NoDescriptor(err) && process.sweeper.giveReserve() {
		all, err = t.list()
	}
	if err != nil {
		r.none, err = t.unlisted(alive, err, &r)
		return r, err
	}
	for _, p := range all {
		if !t.sent[identify(p)] {
			t.signalListed(p, &r)
		}
		if !t.denied[identify(p)] {
			r.left = append(r.left, p)
		}
	}
	r.none = len(r.left) == 0 && t.nobodyUnseen(alive, &r)
	for r.none && t.collect() {
		// Some died after the sweep above. They are collected before we return.
	}
	return r, nil
}

// signalListed signals p, or notes that this is not permitted. If it fails for
// another reason, as when no descriptor is left, the next round tries again.
func (t *terminator) signalListed(p linux.Process, r *roundResult) {
	id := identify(p)
	switch err := t.send(p); {
	case err == nil:
		t.sent[id] = true
		delete(t.denied, id)
		t.watch(p)
		r.fresh = true
	case err == unix.EPERM:
		t.sent[id] = true
		if !t.denied[id] {
			t.denied[id] = true
			r.denied = append(r.denied, p)
		}
	}
}

// nobodyUnseen reports whether /proc, which shows nobody to wait for, is right. It
// may be wrong about a process that got a new parent while it was read, or that
// it hides (mount option hidepid).
func (t *terminator) nobodyUnseen(alive bool, r *roundResult) bool {
	if !alive && (os.Getpid() != 1 || syscall.Kill(-1, 0) == unix.ESRCH) {
		return true
	}
	r.fresh = r.fresh || t.empty == 0
	return t.nobodyLives(alive, r)
}

// nobodyLives is for children that are not on the list. Who is alive may not be
// signalled, or is only traced by this process. Who exists and is no child is dead,
// may not be signalled, or has entered and is hidden. The children's lists may lack
// some while processes come and go, but not each time.
func (t *terminator) nobodyLives(alive bool, r *roundResult) bool {
	if alive {
		if any, known := t.signalChildren(r); any || !known {
			t.empty = 0
			return false
		}
	}
	t.empty++
	return t.empty >= enoughEmpty
}

// unlisted is a round without a list. The children alone tell of the end then:
// those who entered from outside are signalled, and not waited for.
func (t *terminator) unlisted(alive bool, err error, r *roundResult) (none bool, _ error) {
	if os.Getpid() == 1 && !t.sentAll {
		t.sentAll = syscall.Kill(-1, t.signal) == nil
		if t.signal == unix.SIGTERM {
			syscall.Kill(-1, unix.SIGCONT)
		}
	}
	if !alive {
		return true, nil
	}
	if t.noProc != nil {
		return false, nil
	}
	if _, _, known := livingChildren(); os.Getpid() != 1 && !known {
		return false, fmt.Errorf("reaper: Terminate: cannot tell which processes are left: %w", err)
	}
	return t.nobodyLives(alive, r), nil
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

// warnDenied names those who may not be signalled.
func warnDenied(denied []linux.Process) {
	logger := slog.Default()
	process.Lock()
	if process.sweeper != nil {
		logger = process.sweeper.r.logger()
	}
	process.Unlock()
	briefly(func() {
		for _, p := range denied {
			who := []any{"pid", p.PID}
			if p.Name != "" { // /proc shows it
				who = append(who, "name", p.Name)
			}
			logger.Warn("reaper: Terminate may not signal a process, so it is not waited for", who...)
		}
	})
}

func (t *terminator) close() {
	for _, f := range t.watched {
		f.Close()
	}
	if t.own != nil {
		t.own.close()
	}
}

func pids(all []linux.Process) (pids []int) {
	for _, p := range all {
		pids = append(pids, p.PID)
	}
	return pids
}
