// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

func (b *bench) throughput() (*report.Section, error) {
	order := append([]string{none}, inProcess...)
	sizes := []int{100, 10_000}
	var measured []report.Results
	for _, n := range sizes {
		j := job{Workload: "throughput", Workers: 2, Descriptors: n, Duration: time.Second}
		if b.short {
			j.Duration = 50 * time.Millisecond
		}
		// Small differences are looked for: more and shorter rounds.
		short := *b
		short.rounds = 3 * b.rounds
		r, err := short.collect(order, j)
		if err != nil {
			return nil, err
		}
		measured = append(measured, r)
	}
	s := &report.Section{
		Title: "Commands a second",
		About: fmt.Sprintf(`/bin/true by exec.Cmd.Run, two at a time, no orphans, in a program with 100 and with 10,000
			descriptors, %d rounds of 1 s. A ratio is the median of the ratios in each round. Commands whose
			status was lost count as well.`, 3*b.rounds),
		Head: []string{"collector", "100 descriptors", "beside none", "10,000 descriptors", "beside none"},
	}
	for _, name := range order {
		row := []string{subjects[name].title()}
		for _, r := range measured {
			row = append(row, report.Spread(r[name]["rate"]), pairs(r[name]["rate"], r[none]["rate"]))
		}
		s.Rows = append(s.Rows, row)
	}
	return s, nil
}

// pairs is the median of the ratios of one round each.
func pairs(xs, base []float64) string {
	ratios := slices.Clone(xs)
	for i := range ratios {
		ratios[i] /= base[i]
	}
	return fmt.Sprintf("%.3f", report.Median(ratios))
}

func countExecs(s *subject, j job) (report.Figures, error) {
	var n atomic.Int64
	var work sync.WaitGroup
	began := time.Now()
	for range j.Workers {
		work.Go(func() {
			for time.Since(began) < j.Duration {
				s.run(exec.Command("/bin/true"))
				n.Add(1)
			}
		})
	}
	work.Wait()
	return report.Figures{"rate": float64(n.Load()) / time.Since(began).Seconds()}, nil
}
