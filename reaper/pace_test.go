package reaper

import (
	"testing"
	"time"
)

// Sweeps that find nothing, each as soon as it is allowed.
func TestPaceBoundsLooking(t *testing.T) {
	for _, cost := range []time.Duration{200 * time.Microsecond, 10 * time.Millisecond, time.Second} {
		var p pace
		start := time.Unix(0, 0)
		now, busy := start, time.Duration(0)
		for range 10_000 {
			now = now.Add(cost)
			busy += cost
			p.spend(now, cost, 10_000_000, 0)
			now = p.next()
		}
		if got := float64(busy) / float64(now.Sub(start)); got > 0.01 {
			t.Errorf("sweeps of %v take %.2f %% of a processor, want at most 1 %%", cost, 100*got)
		}
	}
}

func TestPaceLetsSmallSweepsPass(t *testing.T) {
	var p pace
	now := time.Unix(0, 0)
	for range 10_000 {
		p.spend(now, time.Millisecond, perSweep, 1)
		if next := p.next(); next.After(now) {
			t.Fatalf("a small sweep that was worth it has to wait %v", next.Sub(now))
		}
	}
}

// The other way round: how old a zombie gets with very many descriptors.
func TestPaceBoundsAge(t *testing.T) {
	var p pace
	now := time.Unix(0, 0)
	for range 100 {
		p.spend(now, 10*time.Millisecond, 30_000, 1) // two passes over 15,000
		rest := p.next().Sub(now)
		if rest > longRest {
			t.Fatalf("the next sweep comes after %v, want at most %v", rest, longRest)
		}
		now = p.next()
	}
}
