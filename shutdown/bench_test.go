// SPDX-License-Identifier: MIT

package shutdown_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

var sizes = []int{1, 10, 100, 10_000}

// BenchmarkRun is a whole shutdown of hooks that have nothing to do.
func BenchmarkRun(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p := quiet()
				p.Reserve = time.Microsecond
				for range n {
					p.Defer("hook", nothing)
				}
				if r := p.Run(background); len(r.Steps) != n {
					b.Fatal(r)
				}
			}
			perHook(b, n)
		})
	}
}

// BenchmarkLoop is the naive version: no deadline, nothing contained.
func BenchmarkLoop(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var hooks []func(context.Context) error
				for range n {
					hooks = append(hooks, nothing)
				}
				for i := len(hooks) - 1; i >= 0; i-- {
					if err := hooks[i](background); err != nil {
						b.Fatal(err)
					}
				}
			}
			perHook(b, n)
		})
	}
}

// BenchmarkStuck is what it takes to give up on a hook, with so many other
// goroutines in the process.
func BenchmarkStuck(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			release := make(chan struct{})
			defer close(release)
			for range n {
				go hangTwo(release)
			}
			hang := shutdown.Within(time.Nanosecond, func(context.Context) error { hangOne(release); return nil })
			for b.Loop() {
				if err := hang(background); err == nil {
					b.Fatal("no error")
				}
			}
		})
	}
}

func perHook(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/hook")
}
