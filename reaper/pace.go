// SPDX-License-Identifier: MIT

package reaper

import "time"

const (
	// share is the part of one processor that sweeps may take over time, one
	// in share. It is half of the 1 % that Run promises; the other half is for
	// what each death costs anyway: the signal, and collecting.
	share = 200

	// longRest is where a zombie gets old, so that the whole 1 % is used: one
	// in maxShare.
	longRest = 2700 * time.Millisecond
	maxShare = 100

	// burst is the time that sweeps may take after a quiet time before it counts.
	burst = 2 * time.Millisecond

	// spacing is how much longer than a sweep the rest behind it is, also
	// while there is something left of burst: when thousands of children die
	// together, more of them are then found in each sweep.
	spacing = 10

	// perSweep and perExit are not charged if an orphan was found: some hundred
	// descriptors are examined in that time, and every orphan is collected when
	// it dies. What takes longer is charged twice, until all is charged.
	perSweep = 200 * time.Microsecond
	perExit  = 25 * time.Microsecond

	// inVain is what a sweep is charged that collects nothing: the time that the
	// runtime needs for a signal. A program that runs one command after the
	// other, and waits for each, would otherwise spend 3 % of its time on signals
	// that are not for the Reaper.
	inVain = 100 * time.Microsecond

	// maxRest bounds what follows from one wrong measurement, of a virtual machine
	// that was stopped for instance, and maxDebt how long that lasts: the next rests
	// are half as long each time.
	maxRest = time.Minute
	maxDebt = burst + maxRest/maxShare
)

// A pace rate-limits the sweeps of a process that has very many descriptors or
// children, so that they take a bounded share of a processor. The zero value is
// ready to use.
type pace struct {
	spent time.Duration // processor time not yet earned back
	last  time.Duration // of that, by the last sweep
	at    time.Time     // of the last sweep
}

// spend records a sweep that took d and collected so many exits. What counts is
// what was measured: descriptors and processes that are slow to examine are
// examined less often.
func (p *pace) spend(now time.Time, d time.Duration, exits int) {
	if exits > 0 {
		more := max(0, d-perSweep-time.Duration(exits)*perExit)
		d = min(d, 2*more)
	}
	p.spent = max(0, p.spent-now.Sub(p.at)/share) + d
	if exits == 0 {
		p.spent += inVain
	}
	p.spent = min(p.spent, maxDebt)
	p.last = d
	p.at = now
}

// next is the time before which there should be no other sweep.
func (p *pace) next() time.Time {
	debt := p.spent - burst
	rest := max(p.last*spacing, debt*share)
	if rest > longRest {
		rest = max(longRest, debt*maxShare)
	}
	return p.at.Add(min(rest, maxRest))
}
