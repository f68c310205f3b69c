// SPDX-License-Identifier: MIT

package shutdown_test

import (
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

func TestGrace(t *testing.T) {
	for _, test := range []struct {
		field                       time.Duration
		variable, kubernetes, nomad string
		want                        time.Duration
		source                      string
	}{
		{0, "", "", "", 10 * time.Second, "assumed: Docker"},
		{0, "", "10.96.0.1", "", 30 * time.Second, "assumed: Kubernetes"},
		{0, "", "", "5456bd7a", 5 * time.Second, "assumed: Nomad"},
		{0, "45s", "10.96.0.1", "5456bd7a", 45 * time.Second, "from $SHUTDOWN_GRACE"},
		{0, "1m30s", "", "", 90 * time.Second, "from $SHUTDOWN_GRACE"},
		{0, "45", "", "", 45 * time.Second, "from $SHUTDOWN_GRACE"},
		{0, "1.5h", "", "", 90 * time.Minute, "from $SHUTDOWN_GRACE"},
		{20 * time.Second, "45s", "10.96.0.1", "", 20 * time.Second, "set in code"},
		{20 * time.Second, "soon", "", "", 20 * time.Second, "set in code"},
	} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			t.Setenv("SHUTDOWN_GRACE", test.variable)
			t.Setenv("KUBERNETES_SERVICE_HOST", test.kubernetes)
			t.Setenv("NOMAD_ALLOC_ID", test.nomad)
			p := quiet()
			p.Grace = test.field
			plan, err := p.Plan(0, 0)
			if err != nil || plan.Grace != test.want || plan.Source != test.source {
				t.Errorf("Plan: %v %s, %v; want %v %s", plan.Grace, plan.Source, err, test.want, test.source)
			}
			if s := plan.String(); !strings.HasSuffix(s, ", "+test.source) {
				t.Errorf("Plan: %s", s)
			}
			if r := p.Run(background); r.Grace != test.want || r.Err() != nil {
				t.Errorf("Run: %v, %v; want %v", r.Grace, r.Err(), test.want)
			}
		})
	}
}

// An invalid configuration is an error before anything starts. Run all the same
// runs the hooks, with the defaults.
func TestInvalidConfiguration(t *testing.T) {
	for _, test := range []struct {
		grace, reserve time.Duration
		variable       string
		want           string
	}{
		{-time.Second, 0, "",
			"shutdown: Pipeline.Grace is -1s: want a positive duration, or 0 for $SHUTDOWN_GRACE or the default"},
		{0, -time.Second, "",
			"shutdown: Pipeline.Reserve is -1s: want a positive duration, or 0 for Grace/20"},
		{10 * time.Second, 9600 * time.Millisecond, "",
			"shutdown: Pipeline.Reserve is 9.6s, but only 9.5s of the 10s grace are usable: lower Reserve or raise Grace"},
		{0, 0, "soon",
			`shutdown: $SHUTDOWN_GRACE is "soon": want a duration such as "30s" or a number of seconds`},
		{0, 0, "30 s",
			`shutdown: $SHUTDOWN_GRACE is "30 s": want a duration such as "30s" or a number of seconds`},
		{0, 0, "0",
			`shutdown: $SHUTDOWN_GRACE is "0": want more than zero`},
		{0, 0, "-5s",
			`shutdown: $SHUTDOWN_GRACE is "-5s": want more than zero`},
		{0, 0, "-5",
			`shutdown: $SHUTDOWN_GRACE is "-5": want more than zero`},
		{0, 0, "9223372037",
			`shutdown: $SHUTDOWN_GRACE is "9223372037": want a duration such as "30s" or a number of seconds`},
		{-1, -1, "", "shutdown: Pipeline.Grace is -1ns: want a positive duration, or 0 for $SHUTDOWN_GRACE or the default\n" +
			"shutdown: Pipeline.Reserve is -1ns: want a positive duration, or 0 for Grace/20"},
	} {
		t.Run(test.want, func(t *testing.T) {
			t.Setenv("SHUTDOWN_GRACE", test.variable)
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			var log records
			p := quiet()
			p.Logger = slog.New(&log)
			p.Grace, p.Reserve = test.grace, test.reserve
			p.Defer("hook", nothing)
			plan, err := p.Plan(0, 0)
			if err == nil || err.Error() != test.want {
				t.Errorf("Plan: %v, want\n%s", err, test.want)
			}
			if plan.Grace != 10*time.Second || plan.Reserve != 500*ms {
				t.Errorf("Plan: %v, want the defaults", plan)
			}

			r := p.Run(background)
			if err := r.Err(); err == nil || err.Error() != test.want {
				t.Errorf("Run: %v, want\n%s", err, test.want)
			}
			if r.Grace != 10*time.Second || len(r.Steps) != 1 || r.Steps[0].State != shutdown.OK {
				t.Errorf("Run: %v", r)
			}
			if want := "ERROR shutdown: invalid configuration, using defaults error=" + test.want; log.text[0] != want {
				t.Errorf("log is %q, want %q first", log.text, want)
			}
			if !strings.Contains(r.String(), ", 1 step ok, invalid configuration\n") {
				t.Errorf("report is %v", r)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	for _, test := range []struct {
		grace, reserve, delay time.Duration
		hooks, extra          int
		want                  string // the plan or the error
	}{
		{30 * time.Second, 0, 5 * time.Second, 1, 3,
			"SIGTERM: 5s delay, up to 17.5s for servers and hooks, 1.5s kept per hook, SIGKILL at 30s, set in code"},
		{30 * time.Second, 0, 0, 0, 1,
			"SIGTERM: up to 27s for servers and hooks, 1.5s kept per hook, SIGKILL at 30s, set in code"},
		{10 * time.Second, 250 * time.Millisecond, 0, 2, 2,
			"SIGTERM: up to 8.5s for servers and hooks, 250ms kept per hook, SIGKILL at 10s, set in code"},
		{30 * time.Minute, 0, time.Minute, 0, 1,
			"SIGTERM: 1m delay, up to 26m for servers and hooks, 1m30s kept per hook, SIGKILL at 30m, set in code"},
		{30 * time.Second, 0, 0, 19, 0, // fits exactly
			"SIGTERM: up to 14.2s for servers and hooks, 750ms kept per hook (lowered from 1.5s for 19 hooks), SIGKILL at 30s, set in code"},
		{10 * time.Second, 0, 0, 19, 19,
			"SIGTERM: up to 4.7s for servers and hooks, 125ms kept per hook (lowered from 500ms for 38 hooks), SIGKILL at 10s, set in code"},
		{5 * time.Second, 0, 4 * time.Second, 2, 4,
			"SIGTERM: 4s delay, up to 375ms for servers and hooks, 62ms kept per hook (lowered from 250ms for 6 hooks), SIGKILL at 5s, set in code"},
		{30 * time.Second, 1500 * time.Millisecond, 5 * time.Second, 18, 2,
			"shutdown: delay 5s + 1.5s reserve × 20 hooks = 35s, but only 28.5s of the 30s grace are usable: " +
				"raise Grace ($SHUTDOWN_GRACE) and the orchestrator's grace period with it, or lower Reserve or the delay"},
		{30 * time.Second, 1500 * time.Millisecond, 0, 19, 1,
			"shutdown: 1.5s reserve × 20 hooks = 30s, but only 28.5s of the 30s grace are usable: " +
				"raise Grace ($SHUTDOWN_GRACE) and the orchestrator's grace period with it, or lower Reserve"},
		{30 * time.Second, 0, 30 * time.Second, 1, 0,
			"shutdown: delay 30s + 1.5s reserve × 1 hook = 31.5s, but only 28.5s of the 30s grace are usable: " +
				"raise Grace ($SHUTDOWN_GRACE) and the orchestrator's grace period with it, or lower Reserve or the delay"},
	} {
		p := quiet()
		p.Grace, p.Reserve = test.grace, test.reserve
		for range test.hooks {
			p.Defer("hook", nothing)
		}
		plan, err := p.Plan(test.delay, test.extra)
		got := plan.String()
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%+v:\n%s", test, got)
		}
	}
}

// Run keeps to the Reserve of a Plan, which keeps half of the time for the first hook.
func TestPlanIsKept(t *testing.T) {
	for _, n := range []int{1, 19, 40, 400} {
		synctest.Test(t, func(t *testing.T) {
			p := quiet()
			for range n - 1 {
				p.Defer("obeys", obey)
			}
			p.Defer("first", obey)
			plan, err := p.Plan(0, 0)
			if err != nil {
				t.Fatal(err)
			}
			if all := plan.Reserve * time.Duration(n); all > plan.Usable/2 {
				t.Errorf("%d hooks together have %v of %v", n, all, plan.Usable)
			}
			p.Reserve = plan.Reserve
			r := p.Run(background)
			for i, s := range r.Steps {
				least := plan.Reserve
				if i == 0 {
					least = plan.Usable/2 - plan.Reserve // one Reserve is kept for what may be added
				}
				if s.Budget < least {
					t.Errorf("%d hooks, number %d: %v, want %v at least", n, i, s, least)
				}
			}
		})
	}
}

func FuzzGraceVariable(f *testing.F) {
	for _, s := range []string{"", "30", "30s", "1m30s", "-1", "0", "1e9s", "9223372036", "9223372037", " 30s", "٣s", "+5", "0x10", "1_0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) {
			t.Skip("not possible in an environment")
		}
		t.Setenv("SHUTDOWN_GRACE", s)
		t.Setenv("KUBERNETES_SERVICE_HOST", "")
		p := quiet()
		p.Grace = 0
		plan, err := p.Plan(0, 0)

		// Go's durations, bare seconds, or the default: nothing else.
		want, parseErr := time.ParseDuration(s)
		if seconds, intErr := strconv.ParseInt(s, 10, 64); intErr == nil && seconds <= math.MaxInt64/int64(time.Second) {
			want, parseErr = time.Duration(max(0, seconds))*time.Second, nil
		}
		if s == "" {
			want, parseErr = 10*time.Second, nil
		}
		valid := parseErr == nil && want > 0
		switch {
		case valid && (err != nil || plan.Grace != want):
			t.Errorf("%q: %v, %v; want %v", s, plan.Grace, err, want)
		case !valid && (err == nil || !strings.Contains(err.Error(), "$SHUTDOWN_GRACE is "+strconv.Quote(s))):
			t.Errorf("%q: %v, error %v", s, plan.Grace, err)
		}
	})
}

func FuzzPlan(f *testing.F) {
	f.Add(int64(30e9), int64(0), int64(5e9), 4)
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), math.MaxInt)
	f.Add(int64(1), int64(1), int64(-1), -1)
	f.Fuzz(func(t *testing.T, grace, reserve, delay int64, extra int) {
		p := quiet()
		p.Grace, p.Reserve = time.Duration(grace), time.Duration(reserve)
		if grace <= 0 {
			p.Grace = time.Second
		}
		plan, err := p.Plan(time.Duration(delay), extra)
		if err != nil {
			return
		}
		// What a valid plan promises fits, without overflow.
		rest := plan.Usable - plan.Delay
		if plan.Usable > plan.Grace || plan.Delay < 0 || plan.Hooks < 0 || rest < 0 {
			t.Fatalf("%+v", plan)
		}
		if plan.Hooks > 0 && plan.Reserve > rest/time.Duration(plan.Hooks) {
			t.Errorf("%+v does not fit", plan)
		}
		if s := plan.String(); strings.Contains(s, "-") {
			t.Error(s)
		}
	})
}
