// SPDX-License-Identifier: MIT

package reaper

// What the reaper needs of the kernel, and since when Linux has it:
//
//	v2.6.9 waitid, and WNOWAIT: peek at a zombie and leave it one
//	v3.4   PR_SET_CHILD_SUBREAPER
//	v3.5   /proc/<pid>/task/<tid>/children (CONFIG_CHECKPOINT_RESTORE;
//	       CONFIG_PROC_CHILDREN since v4.2)
//	v4.1   NSpid in /proc/<pid>/status
//	v5.2   CLONE_PIDFD: the parent has the pidfd before the child runs
//	v5.3   pidfd_open
//	v5.4   waitid(P_PIDFD), which also distinguishes a pidfd (of a child or
//	       not) from every other descriptor (EBADF)
//
// Why it is done this way is in docs/design.md.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

// process is the state that all Reapers of a program share: there is one set of
// children in a process.
var process struct {
	// The mutex guards the rest and is held during a sweep. A sweep opens pidfds
	// of zombies, which another sweep would take for those of owners.
	sync.Mutex
	sweeper *sweeper // of the Reaper that is running, or nil
}

// descriptorCheck is the time between looks for the descriptors that Run needs.
const descriptorCheck = time.Second

var errRunning = errors.New("reaper: Run: a Reaper is running in this process already")

func (r *Reaper) run(ctx context.Context) error {
	return r.runWith(ctx, standard)
}

func (r *Reaper) runWith(ctx context.Context, t timing) error {
	if r.Subreaper && os.Getpid() != 1 {
		release, err := linux.Adopt()
		if err != nil {
			err = fmt.Errorf("reaper: Run: become a subreaper: %w", err)
			r.warn("reaper: orphans are not collected", "error", err)
			return err
		}
		defer release()
	}
	s, err := r.awaitSweeper(ctx, t)
	if err != nil {
		r.warn("reaper: orphans are not collected", "error", err)
	}
	if s == nil {
		return err
	}
	defer s.close()
	if r.OnReap != nil {
		s.queue = newQueue(r.OnReap, r.logger())
		defer s.queue.close(100 * time.Millisecond)
	}
	s.forTerminate.take()
	s.forPidfd.take()
	subreaper, _ := linux.IsSubreaper()
	facts := []any{"pid1", os.Getpid() == 1, "subreaper", subreaper, "pidfds", s.descriptors != nil, "children", s.leader != nil}
	if err := s.register(); err != nil {
		return err
	}
	defer s.unregister() // from here on, s belongs to whoever has the lock
	briefly(func() { r.logger().Debug("reaper: collecting orphans", facts...) })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.loop(ctx)
	}()
	<-ctx.Done()
	s.wake(ended)
	return nil
}

// awaitSweeper is newSweeper, and waits until enough descriptors are free. It
// returns nil when ctx ends before.
func (r *Reaper) awaitSweeper(ctx context.Context, t timing) (*sweeper, error) {
	for logged := false; ; logged = true {
		s, err := newSweeper(r, t)
		if !linux.NoDescriptor(err) {
			return s, err
		}
		if !logged {
			r.warn("reaper: too few descriptors left, no orphan is collected until some are free", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(descriptorCheck):
		}
	}
}

// warn logs a warning.
func (r *Reaper) warn(message string, args ...any) {
	briefly(func() { r.logger().Warn(message, args...) })
}

func (s *sweeper) register() error {
	process.Lock()
	defer process.Unlock()
	if process.sweeper != nil {
		return errRunning
	}
	process.sweeper = s
	return nil
}

func (s *sweeper) unregister() {
	process.Lock()
	defer process.Unlock()
	process.sweeper = nil
}
