// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

func (b *bench) load() (*report.Section, error) {
	j := job{Workload: "load", Orphans: 200, Descriptors: b.count(15_000, 1000), Duration: 10 * time.Second}
	if b.short {
		j.Duration = time.Second
	}
	one := *b
	one.rounds = min(b.rounds, 3)
	order := append([]string{none}, collectors...)
	r, err := one.collect(order, j)
	if err != nil {
		return nil, err
	}
	return &report.Section{
		Title: "Processor time of PID 1 with many descriptors",
		About: fmt.Sprintf(`%d orphans a second die for %v under a PID 1 with %d open descriptors (an init from outside
			has a handful). Share: processor time of PID 1, of one core. Oldest: the age of the oldest zombie, looked
			for every 100 ms. Left: zombies 5 s after the end. %d rounds.`, j.Orphans, j.Duration, j.Descriptors, one.rounds),
		Head: []string{"collector", "share, %", "oldest zombie, ms", "left"},
		Rows: r.Table(order, title, func(f map[string][]float64) []string {
			return []string{report.Spread(f["share"]), report.Spread(f["oldest ms"]), report.Number(report.Sum(f["left"]))}
		}),
	}, nil
}

func watchLoad(_ *subject, j job) (report.Figures, error) {
	const batch = 10
	older, err := adopted()
	if err != nil {
		return nil, err
	}
	before, err := processorTime(1)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	var orphans sync.WaitGroup
	orphans.Go(func() {
		tick := time.NewTicker(time.Second * batch / time.Duration(j.Orphans))
		defer tick.Stop()
		for time.Since(began) < j.Duration {
			<-tick.C
			diers(batch).Run()
		}
	})

	// Process numbers do not come again within so short a time.
	first := map[int]time.Time{}
	oldest := time.Duration(0)
	for time.Since(began) < j.Duration {
		pids, err := adopted() // dead, but for the moment in which they end
		if err != nil {
			return nil, err
		}
		now := time.Now()
		for _, pid := range pids {
			if _, ok := first[pid]; !ok {
				first[pid] = now
			}
			if !slices.Contains(older, pid) {
				oldest = max(oldest, now.Sub(first[pid]))
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	orphans.Wait()
	took := time.Since(began)
	after, err := processorTime(1)
	if err != nil {
		return nil, err
	}
	left, err := leftZombies(5 * time.Second)
	return report.Figures{
		"share":     100 * (after - before).Seconds() / took.Seconds(),
		"oldest ms": oldest.Seconds() * 1e3,
		"left":      float64(left),
	}, err
}

// processorTime is what all threads of a process have used.
func processorTime(pid int) (time.Duration, error) {
	// The number of a process's clock, as by clock_getcpuclockid(3).
	clock := int32(^pid)<<3 | 2
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
