// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

// alive is how many orphans there are at a time.
const alive = 50

func (b *bench) lifetime() (*report.Section, error) {
	j := job{Workload: "lifetime", Orphans: b.count(1000, 50)}
	r, err := b.collect(collectors, j)
	if err != nil {
		return nil, err
	}
	return &report.Section{
		Title: "Zombie lifetime",
		About: fmt.Sprintf(`One orphan at a time is killed, %d a round in %d rounds, while up to %d others live. From the
			moment that its pidfd tells of its death (POLLIN) to the moment that it tells that it was collected
			(POLLHUP), as another process sees both: each wake-up of that process counts in, for all alike.
			A signal takes three threads until a goroutine has it: the one that the kernel interrupts, the one
			that os/signal receives on, and the one that runs the receiver. Ours waits in waitid after an
			orphan, and is woken by the kernel itself, like tini in sigtimedwait and ramr/go-reaper in wait4.
			What is more in ours is to find out whose child it is, before it is collected: a list of children,
			a pidfd, and two passes over the descriptors.`,
			j.Orphans, b.rounds, alive),
		Head: []string{"collector", "p50, µs", "p50 beside tini", "p99, µs", "p99 beside tini", "not collected"},
		Rows: r.Table(collectors, title, func(f map[string][]float64) []string {
			return []string{
				report.Spread(f["p50"]), report.Ratio(f["p50"], r[tini]["p50"]),
				report.Spread(f["p99"]), report.Ratio(f["p99"], r[tini]["p99"]),
				report.Number(report.Sum(f["left"])),
			}
		}),
	}, nil
}

func timeZombies(_ *subject, j job) (report.Figures, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var pids []int
	var lives []float64
	left := 0
	for range j.Orphans {
		if len(pids) == 0 {
			var err error
			if _, pids, err = makeOrphans(alive); err != nil {
				return nil, err
			}
		}
		pid := pids[0]
		pids = pids[1:]
		// Let PID 1 go to sleep again: deaths come one by one in a service.
		time.Sleep(500 * time.Microsecond)
		life, err := timeZombie(pid)
		switch {
		case err != nil:
			return nil, err
		case life < 0:
			left++
		default:
			lives = append(lives, float64(life)/1e3)
		}
		if left >= 3 {
			return nil, fmt.Errorf("%d of %d orphans were not collected", left, len(lives)+left)
		}
	}
	return report.Figures{"p50": report.Quantile(lives, 0.5), "p99": report.Quantile(lives, 0.99), "left": float64(left)}, nil
}

// timeZombie kills pid and returns how long it was a zombie, or -1 if it still
// is after five seconds.
func timeZombie(pid int) (time.Duration, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, fmt.Errorf("pidfd of an orphan: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return 0, fmt.Errorf("kill an orphan: %w", err)
	}
	events, err := poll(fd, unix.POLLIN)
	dead := time.Now()
	if err != nil || events&unix.POLLHUP != 0 {
		return 0, err // collected before we woke
	}
	events, err = poll(fd, 0)
	switch {
	case err != nil:
		return 0, err
	case events&unix.POLLHUP == 0:
		return -1, nil
	}
	return time.Since(dead), nil
}

func poll(fd int, events int16) (int16, error) {
	p := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		if _, err := unix.Poll(p, 5000); err != unix.EINTR {
			return p[0].Revents, err
		}
	}
}
