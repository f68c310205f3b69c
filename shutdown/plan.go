// SPDX-License-Identifier: MIT

package shutdown

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Plan is how a [Pipeline] would spend its grace period.
type Plan struct {
	Grace   time.Duration // until SIGKILL
	Source  string        // of Grace: "from $SHUTDOWN_GRACE", "set in code", "assumed: Kubernetes"
	Usable  time.Duration // Grace without the margin
	Delay   time.Duration // before the hooks
	Reserve time.Duration // kept for each hook
	Hooks   int

	wanted time.Duration // Reserve, had it not been lowered to fit
}

// Plan checks the configuration before anything starts: for the hooks added so far
// plus extra more, after a delay. A negative delay or extra counts as zero.
//
// It returns an error if a field or variable is invalid (the Plan then has its
// default), or if the delay and a Reserve for every hook do not fit in the usable
// time. If Pipeline.Reserve is zero, the Plan's is Grace/20, lowered until all
// Reserves together take half of the time after the delay at most. Run alone does
// not lower it so far: set Pipeline.Reserve to the Plan's.
func (p *Pipeline) Plan(delay time.Duration, extra int) (Plan, error) {
	l, err := p.limits()
	p.mu.Lock()
	n := len(p.hooks) + min(max(0, extra), math.MaxInt32-len(p.hooks))
	p.mu.Unlock()

	plan := Plan{Grace: l.grace, Source: l.source, Usable: l.usable, Delay: max(0, delay), Reserve: l.reserve, Hooks: n, wanted: l.reserve}
	if rest := plan.Usable - plan.Delay; p.Reserve == 0 && rest > 0 && n > 0 {
		plan.Reserve = max(1, min(l.reserve, rest/2/time.Duration(n)))
	}
	if sum := plus(plan.Delay, times(plan.Reserve, n)); err == nil && sum > l.usable {
		err = plan.tooMuch(sum)
	}
	return plan, err
}

// tooMuch shows the sum that does not fit.
func (p Plan) tooMuch(sum time.Duration) error {
	delay, orDelay := "", ""
	if p.Delay > 0 {
		delay, orDelay = "delay "+short(p.Delay)+" + ", " or the delay"
	}
	return fmt.Errorf("shutdown: %s%s reserve × %s = %s, but only %s of the %s grace are usable: "+
		"raise Grace ($%s) and the orchestrator's grace period with it, or lower Reserve%s",
		delay, short(p.Reserve), hooks(p.Hooks), short(sum), short(p.Usable), short(p.Grace), graceVariable, orDelay)
}

// String is the plan in one line:
//
//	SIGTERM: 5s delay, up to 17.5s for servers and hooks, 1.5s kept per hook, SIGKILL at 30s, assumed: Kubernetes
func (p Plan) String() string {
	var b strings.Builder
	b.WriteString("SIGTERM: ")
	if p.Delay > 0 {
		fmt.Fprintf(&b, "%s delay, ", short(p.Delay))
	}
	rest := p.Usable - p.Delay
	longest := rest
	if p.Hooks > 0 {
		longest = max(rest-times(p.Reserve, p.Hooks), min(p.Reserve, rest))
	}
	fmt.Fprintf(&b, "up to %s for servers and hooks, %s kept per hook", short(longest), short(p.Reserve))
	if p.Reserve < p.wanted {
		fmt.Fprintf(&b, " (lowered from %s for %s)", short(p.wanted), hooks(p.Hooks))
	}
	fmt.Fprintf(&b, ", SIGKILL at %s, %s", short(p.Grace), p.Source)
	return b.String()
}

func hooks(n int) string {
	if n == 1 {
		return "1 hook"
	}
	return fmt.Sprintf("%d hooks", n)
}
