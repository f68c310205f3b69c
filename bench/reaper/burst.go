// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

func (b *bench) burst() (*report.Section, error) {
	j := job{Workload: "burst", Orphans: b.count(2000, 100)}
	r, err := b.collect(collectors, j)
	if err != nil {
		return nil, err
	}
	return &report.Section{
		Title: fmt.Sprintf("Time to clear %d orphans that die at once", j.Orphans),
		About: fmt.Sprintf(`From one kill() of their process group, which returns when all have the signal, to the moment
			that no member exists, zombies included. Most of it is the kernel ending %d processes. %d rounds.`, j.Orphans, b.rounds),
		Head: []string{"collector", "ms", "beside tini", "not collected"},
		Rows: r.Table(collectors, title, func(f map[string][]float64) []string {
			return []string{report.Spread(f["ms"]), report.Ratio(f["ms"], r[tini]["ms"]), report.Number(report.Sum(f["left"]))}
		}),
	}, nil
}

func timeBurst(_ *subject, j job) (report.Figures, error) {
	group, _, err := makeOrphans(j.Orphans)
	if err != nil {
		return nil, err
	}
	time.Sleep(200 * time.Millisecond) // the last of them may still be starting
	began := time.Now()
	if err := syscall.Kill(-group, syscall.SIGKILL); err != nil {
		return nil, fmt.Errorf("kill the orphans: %w", err)
	}
	for time.Since(began) < 20*time.Second {
		if err := syscall.Kill(-group, 0); errors.Is(err, syscall.ESRCH) {
			return report.Figures{"ms": time.Since(began).Seconds() * 1e3}, nil
		}
		time.Sleep(500 * time.Microsecond)
	}
	left, err := zombies()
	return report.Figures{"left": float64(len(left))}, err
}
