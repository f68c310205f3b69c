package shutdown

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
)

// graceVariable is the environment variable for Pipeline.Grace.
const graceVariable = "SHUTDOWN_GRACE"

// Defaults of Pipeline.Grace: docker stop(1), --time; Kubernetes,
// PodSpec.terminationGracePeriodSeconds.
const (
	dockerGrace     = 10 * time.Second
	kubernetesGrace = 30 * time.Second
)

// limits divides the grace:
//
//	0            usable       stop    grace
//	├─ hooks ──────┼─ settling ─┼───────┤
//
// Hooks get what is usable. What a hook takes to settle when its budget is over,
// the search for stacks, and late timers come out of the margin: they cost the
// hooks after it nothing. The last fiftieth is for the caller to report and exit.
type limits struct {
	grace, usable, stop time.Duration
	settling            time.Duration // for all hooks together; the rest up to stop is for the machine
	reserve             time.Duration
}

func newLimits(grace, reserve time.Duration) limits {
	if reserve == 0 {
		reserve = grace / 20
	}
	return limits{
		grace:    grace,
		usable:   grace - grace/20,
		stop:     grace - grace/50,
		settling: grace / 100,
		reserve:  reserve,
	}
}

// limits follows the configuration. The error says what is invalid in it; the
// limits then have the default.
func (p *Pipeline) limits() (limits, error) {
	grace, graceErr := p.grace()
	l := newLimits(grace, p.Reserve)
	var reserveErr error
	switch {
	case p.Reserve < 0:
		reserveErr = fmt.Errorf("shutdown: Pipeline.Reserve is %s: want a positive duration, or 0 for Grace/20", p.Reserve)
	case p.Reserve > l.usable:
		reserveErr = fmt.Errorf("shutdown: Pipeline.Reserve is %s, but only %s of the %s grace are usable: lower Reserve or raise Grace",
			p.Reserve, short(l.usable), short(l.grace))
	}
	if reserveErr != nil {
		l = newLimits(grace, 0)
	}
	return l, errors.Join(graceErr, reserveErr)
}

func (p *Pipeline) grace() (time.Duration, error) {
	var err error
	switch value := os.Getenv(graceVariable); {
	case p.Grace > 0:
		return p.Grace, nil
	case p.Grace < 0:
		err = fmt.Errorf("shutdown: Pipeline.Grace is %s: want a positive duration, or 0 for $%s or the default", p.Grace, graceVariable)
	case value != "":
		var d time.Duration
		if d, err = parseGrace(value); err == nil {
			return d, nil
		}
		err = fmt.Errorf("shutdown: $%s is %q: %w", graceVariable, value, err)
	}
	if os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		return kubernetesGrace, err
	}
	return dockerGrace, err
}

// parseGrace reads a duration as people write it ("1m30s") and as orchestrators
// do (a bare number of seconds).
func parseGrace(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		seconds, intErr := strconv.ParseInt(s, 10, 64)
		if intErr != nil || seconds > math.MaxInt64/int64(time.Second) {
			return 0, errors.New(`want a duration such as "30s" or a number of seconds`)
		}
		d = time.Duration(max(0, seconds)) * time.Second
	}
	if d <= 0 {
		return 0, errors.New("want more than zero")
	}
	return d, nil
}

// Plan is how a [Pipeline] would spend its grace period.
type Plan struct {
	Grace   time.Duration // until SIGKILL
	Usable  time.Duration // Grace without the margin
	Delay   time.Duration // before the hooks
	Reserve time.Duration // kept for each hook
	Hooks   int
}

// Plan checks the configuration before anything starts, for the hooks added so far
// and so many extra ones, after a delay.
//
// The error says which field or variable is invalid, or shows the sum when the
// delay and a Reserve for every hook do not fit in the usable time. The Plan is
// what Run would do even so, with defaults for what is invalid. A negative delay or
// extra counts as zero.
func (p *Pipeline) Plan(delay time.Duration, extra int) (Plan, error) {
	l, err := p.limits()
	p.mu.Lock()
	n := len(p.hooks) + min(max(0, extra), math.MaxInt32-len(p.hooks))
	p.mu.Unlock()

	plan := Plan{Grace: l.grace, Usable: l.usable, Delay: max(0, delay), Reserve: l.reserve, Hooks: n}
	if sum := plus(plan.Delay, times(l.reserve, n)); err == nil && sum > l.usable {
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
	hooks := "hooks"
	if p.Hooks == 1 {
		hooks = "hook"
	}
	return fmt.Errorf("shutdown: %s%s reserve × %d %s = %s, but only %s of the %s grace are usable: "+
		"raise Grace ($%s) and the orchestrator's grace period with it, or lower Reserve%s",
		delay, short(p.Reserve), p.Hooks, hooks, short(sum), short(p.Usable), short(p.Grace), graceVariable, orDelay)
}

// String is the plan in one line:
//
//	SIGTERM: 5s delay, up to 19s for servers and hooks, 1.5s kept per hook, SIGKILL at 30s
func (p Plan) String() string {
	var b strings.Builder
	b.WriteString("SIGTERM: ")
	if p.Delay > 0 {
		fmt.Fprintf(&b, "%s delay, ", short(p.Delay))
	}
	longest := p.Usable - p.Delay - times(p.Reserve, p.Hooks-1)
	fmt.Fprintf(&b, "up to %s for servers and hooks, %s kept per hook, SIGKILL at %s",
		short(longest), short(p.Reserve), short(p.Grace))
	return b.String()
}

// plus and times stop at the largest duration.

func plus(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func times(d time.Duration, n int) time.Duration {
	if n <= 0 || d <= 0 {
		return 0
	}
	if d > math.MaxInt64/time.Duration(n) {
		return math.MaxInt64
	}
	return d * time.Duration(n)
}

// short is d for people: "28.5s", "1m30s", "250ms". It never says more than d.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		d = d.Truncate(100 * time.Millisecond)
	case d >= time.Millisecond:
		d = d.Truncate(time.Millisecond)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// rounded is d with three digits, for a log.
func rounded(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}
