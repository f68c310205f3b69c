// SPDX-License-Identifier: MIT

package reaper

import (
	"testing"
	"time"
)

// Sweeps that find nothing, each as soon as it is allowed.
func TestPaceBoundsLooking(t *testing.T) {
	for _, cost := range []time.Duration{200 * time.Microsecond, 10 * time.Millisecond, 500 * time.Millisecond} {
		var p pace
		start := time.Unix(0, 0)
		now, busy := start, time.Duration(0)
		for range 10_000 {
			now = now.Add(cost)
			busy += cost
			p.spend(now, cost, 0)
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
		p.spend(now, perSweep+perExit, 1)
		if next := p.next(); next.After(now) {
			t.Fatalf("a small sweep that was worth it has to wait %v", next.Sub(now))
		}
	}
}

// The other way round: how old a zombie gets with very many descriptors.
func TestPaceBoundsAge(t *testing.T) {
	for _, c := range []struct{ cost, want time.Duration }{
		{10 * time.Millisecond, longRest}, // two passes over 15,000
		{time.Hour, maxRest},              // no measurement
	} {
		var p pace
		now := time.Unix(0, 0)
		for range 100 {
			p.spend(now, c.cost, 1)
			rest := p.next().Sub(now)
			if rest > c.want {
				t.Fatalf("after %v the next sweep comes after %v, want at most %v", c.cost, rest, c.want)
			}
			now = p.next()
		}
	}
}

// Orphans that die without a pause, where each sweep takes long for whatever
// reason: few things that are slow, or many.
func TestPaceBoundsCollecting(t *testing.T) {
	for _, cost := range []time.Duration{2 * time.Millisecond, 8 * time.Millisecond, 22 * time.Millisecond, 100 * time.Millisecond} {
		var p pace
		start := time.Unix(0, 0)
		now, busy := start, time.Duration(0)
		for range 10_000 {
			now = now.Add(cost)
			busy += cost
			p.spend(now, cost, 3)
			now = p.next()
		}
		if got := float64(busy) / float64(now.Sub(start)); got > 0.0101 {
			t.Errorf("sweeps of %v take %.2f %% of a processor, want at most 1 %%", cost, 100*got)
		}
	}
}

// Many orphans that die while a sweep rests make the next one longer.
func TestPaceBoundsMany(t *testing.T) {
	const each, descriptors, deaths = 26 * time.Microsecond, 8 * time.Millisecond, 200 // a second
	var p pace
	start := time.Unix(0, 0)
	now, last, busy := start, start, time.Duration(0)
	for range 10_000 {
		exits := int(now.Sub(last).Seconds() * deaths)
		last = now
		cost := descriptors + time.Duration(exits)*each
		now = now.Add(cost)
		busy += cost
		p.spend(now, cost, exits)
		now = p.next()
	}
	if got := float64(busy) / float64(now.Sub(start)); got > 0.009 {
		t.Errorf("sweeps take %.2f %% of a processor, which leaves less than 0.1 %% of 1 %% for the signals", 100*got)
	}
}

// One look that takes an hour, on a machine that was stopped for instance, is paid
// off in minutes.
func TestPaceForgives(t *testing.T) {
	var p pace
	start := time.Unix(0, 0)
	now := start
	p.spend(now, time.Hour, 0)
	for p.next().After(now.Add(longRest)) {
		if now = p.next(); now.Sub(start) > 10*time.Minute {
			t.Fatalf("after %v the next sweep comes after %v", now.Sub(start), p.next().Sub(now))
		}
		p.spend(now, 100*time.Microsecond, 0)
	}
}
