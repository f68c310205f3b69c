// SPDX-License-Identifier: MIT

package reaper_test

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/reaper"
)

// BenchmarkCommands runs commands, two at a time, with a Reaper and without, by
// turns of some 200 ms in one process. ratio is the median of the two rates' ratios.
//
//	go test ./reaper -run '^$' -bench Commands -benchtime 200x
func BenchmarkCommands(b *testing.B) {
	for _, descriptors := range []int{100, 10_000} {
		b.Run(fmt.Sprint(descriptors), func(b *testing.B) {
			reaper.OpenMany(b, descriptors)
			turn := 40_000 / (100 + descriptors/25) // fork copies them, and exec closes them
			var ratios []float64
			for i := range b.N {
				var took [2]time.Duration
				for half := range 2 {
					with := (half + i) % 2
					took[with] = takes(b, with == 1, turn)
				}
				ratios = append(ratios, float64(took[0])/float64(took[1]))
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
		})
	}
}

// takes is how long n commands take, with a Reaper or without.
func takes(b *testing.B, with bool, n int) time.Duration {
	if with {
		r := &reaper.Reaper{Logger: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		for r.Work().Sweeps == 0 {
			runtime.Gosched()
		}
		defer func() {
			cancel()
			if err := <-done; err != nil {
				b.Error(err)
			}
		}()
	}
	began := time.Now()
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for range n / 2 {
				if err := exec.Command("/bin/true").Run(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	workers.Wait()
	return time.Since(began)
}
