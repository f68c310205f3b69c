// SPDX-License-Identifier: MIT

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
// PodSpec.terminationGracePeriodSeconds; Nomad, kill_timeout.
const dockerGrace = 10 * time.Second

var orchestrators = []struct {
	variable, name string
	grace          time.Duration
}{
	{"KUBERNETES_SERVICE_HOST", "Kubernetes", 30 * time.Second},
	{"NOMAD_ALLOC_ID", "Nomad", 5 * time.Second},
}

// limits divides the grace:
//
//	0           usable  spareEnd stop   grace
//	├─ hooks ──────┼─ spare ─┼──────┼───────┤
//
// Hooks get what is usable. What is spare is kept for hooks that are added when
// all of that is planned for. What a hook takes to settle when its budget is over,
// and the search for stacks, come out of the two hundredths up to stop: they cost
// the hooks after it nothing. The last fiftieth is for the log to be written, and
// for the caller.
type limits struct {
	grace, usable, spareEnd, stop time.Duration
	settling                      time.Duration // for all hooks together
	reserve                       time.Duration
	source                        string // of grace
}

func newLimits(grace, reserve time.Duration, source string) limits {
	if reserve == 0 {
		reserve = grace / 20
	}
	return limits{
		grace:    grace,
		usable:   grace - grace/20,
		spareEnd: grace - grace/25,
		stop:     grace - grace/50,
		settling: grace / 100,
		reserve:  reserve,
		source:   source,
	}
}

// share is the budget of the next hook: left is until usable, due is what would be
// left until end if the process had not stalled, and n hooks need a share, this
// one among them.
func (l limits) share(left, due time.Duration, n int) time.Duration {
	spare := l.spareEnd - l.usable
	hooks := time.Duration(n)
	own := min(l.reserve, max((due-spare)/hooks, due/(hooks+1)))
	return max(own, left-times(l.reserve, n), time.Microsecond)
}

// limits follows the configuration. The error says what is invalid in it; the
// limits then have the default.
func (p *Pipeline) limits() (limits, error) {
	grace, source, graceErr := p.grace()
	l := newLimits(grace, p.Reserve, source)
	var reserveErr error
	switch {
	case p.Reserve < 0:
		reserveErr = fmt.Errorf("shutdown: Pipeline.Reserve is %s: want a positive duration, or 0 for Grace/20", p.Reserve)
	case p.Reserve > l.usable:
		reserveErr = fmt.Errorf("shutdown: Pipeline.Reserve is %s, but only %s of the %s grace are usable: lower Reserve or raise Grace",
			p.Reserve, short(l.usable), short(l.grace))
	}
	if reserveErr != nil {
		l = newLimits(grace, 0, source)
	}
	return l, errors.Join(graceErr, reserveErr)
}

func (p *Pipeline) grace() (grace time.Duration, source string, err error) {
	switch value := os.Getenv(graceVariable); {
	case p.Grace > 0:
		return p.Grace, "set in code", nil
	case p.Grace < 0:
		err = fmt.Errorf("shutdown: Pipeline.Grace is %s: want a positive duration, or 0 for $%s or the default", p.Grace, graceVariable)
	case value != "":
		var d time.Duration
		if d, err = parseGrace(value); err == nil {
			return d, "from $" + graceVariable, nil
		}
		err = fmt.Errorf("shutdown: $%s is %q: %w", graceVariable, value, err)
	}
	for _, o := range orchestrators {
		if os.Getenv(o.variable) != "" {
			return o.grace, "assumed: " + o.name, err
		}
	}
	return dockerGrace, "assumed: Docker", err
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
