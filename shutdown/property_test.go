// SPDX-License-Identifier: MIT

package shutdown_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

// The full run, some minutes:
//
//	go test ./shutdown -run TestPromises -pipelines=100000
//
// A failing pipeline prints its seed:
//
//	go test ./shutdown -run TestPromises -seed=12345 -v
var (
	pipelines = flag.Int("pipelines", 2000, "random pipelines for TestPromises")
	seedFlag  = flag.Uint64("seed", 0, "run TestPromises with this pipeline only")
)

// TestPromises runs random pipelines of misbehaving hooks in fake time and
// checks what the package promises for all of them.
func TestPromises(t *testing.T) {
	if *seedFlag != 0 {
		testPromises(t, *seedFlag)
		return
	}
	n := *pipelines
	if testing.Short() {
		n = min(n, 200)
	}
	first := rand.Uint64()
	for i := range n {
		if testPromises(t, first+uint64(i)); t.Failed() {
			return
		}
	}
}

func testPromises(t *testing.T, seed uint64) {
	// A goroutine that is left blocked in the bubble is a panic here.
	defer func() {
		if v := recover(); v != nil {
			buf := make([]byte, 1<<20)
			t.Errorf("panic: %v\n%s", v, buf[:runtime.Stack(buf, true)])
		}
		if t.Failed() {
			t.Errorf("repeat with -seed=%d", seed)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed)
		w.play()
		w.check()
	})
}

// world is one random pipeline, what happens to it, and what was seen.
type world struct {
	*testing.T
	trouble
	rand    *rand.Rand // used before Run only: what follows must not depend on the scheduler
	p       shutdown.Pipeline
	reserve time.Duration
	usable  time.Duration
	begin   time.Time
	release chan struct{} // closed to let the hanging hooks go
	forced  time.Duration // when ctx ends; <0: never
	dynamic bool          // hooks are deferred while Run runs
	running bool          // Run has been called
	helpers sync.WaitGroup
	first   []shutdown.Hook
	report  *shutdown.Report
	before  int // goroutines

	mu    sync.Mutex
	hooks []*probe // in the order of Defer
}

// probe is a hook as the test sees it.
type probe struct {
	name     string
	kind     string
	key      int           // LIFO order: of two hooks that wait, the one with the larger key runs first
	deferred time.Duration // when
	dynamic  bool          // while Run runs
	runs     int
	started  time.Duration
	had      time.Duration // of its context, at the start
	timeout  time.Duration // Hook.Timeout
	dead     bool          // its context had ended at the start
	obedient bool          // none of its functions ignores its context
	adds     bool          // its function adds hooks
	live     int           // goroutines in its functions, now
	left     int           // and when Run returned
	outcome  string        // how its function ended, if it did
	ended    time.Duration
}

type function = func(context.Context) error

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		T:       t,
		rand:    rand.New(rand.NewPCG(seed, 0)),
		begin:   time.Now(),
		release: make(chan struct{}),
		forced:  -1,
		before:  runtime.NumGoroutine(),
	}
	w.p.Grace = time.Duration(1+w.rand.IntN(60_000)) * time.Millisecond
	w.usable = w.p.Grace - w.p.Grace/20
	w.reserve = w.p.Grace / 20
	if w.one(2) {
		w.p.Reserve = 1 + time.Duration(w.rand.Int64N(int64(w.p.Grace)/8))
		w.reserve = w.p.Reserve
	}
	w.randomTrouble()
	for range w.rand.IntN(8) {
		w.plan(2)()
	}
	for i := range w.rand.IntN(3) {
		h, f := w.probe(2)
		w.enter(h, 1)
		h.key = 1<<20 - i
		w.first = append(w.first, shutdown.Hook{Name: h.name, Func: f, Timeout: h.timeout})
	}
	return w
}

// one is true once in n times.
func (w *world) one(n int) bool { return w.rand.IntN(n) == 0 }

// moment is a random time, often one that means something.
func (w *world) moment() time.Duration {
	switch w.rand.IntN(6) {
	case 0:
		return 0
	case 1:
		return w.reserve
	case 2:
		return w.usable
	case 3:
		return time.Duration(w.rand.Int64N(int64(w.reserve) + 1))
	default:
		return time.Duration(w.rand.Int64N(int64(w.p.Grace)))
	}
}

// plan makes a random hook and returns what adds it.
func (w *world) plan(depth int) func() {
	h, f := w.probe(depth)
	last := h.timeout == 0 && w.one(6)
	return func() {
		if last {
			w.enter(h, -1)
			w.p.DeferLast(h.name, f)
			return
		}
		w.enter(h, 1)
		w.p.Add(shutdown.Hook{Name: h.name, Func: f, Timeout: h.timeout})
	}
}

// probe makes a random hook.
func (w *world) probe(depth int) (*probe, function) {
	h := &probe{obedient: true}
	f := w.random(h, depth)
	if w.one(4) {
		h.timeout = 1 + w.moment()
	}
	return h, f
}

// enter notes that a hook is added now. Its key is its place, if order is 1.
func (w *world) enter(h *probe, order int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h.name = strconv.Itoa(len(w.hooks))
	h.key = (len(w.hooks) + 1) * order
	h.deferred, h.dynamic = time.Since(w.begin), w.running
	w.hooks = append(w.hooks, h)
}

// random is the function of a hook: a random mix of behaviours.
func (w *world) random(h *probe, depth int) function {
	f := w.behaviour(h, depth)
	return func(ctx context.Context) (err error) {
		end, _ := ctx.Deadline()
		w.mu.Lock()
		h.runs++
		h.started = time.Since(w.begin)
		h.had = time.Until(end)
		h.dead = ctx.Err() != nil
		w.mu.Unlock()

		outcome := "goexit"
		defer func() {
			v := recover()
			if v != nil {
				outcome = "panic"
			}
			w.mu.Lock()
			h.outcome, h.ended = outcome, time.Since(w.begin)
			w.mu.Unlock()
			if v != nil {
				panic(v)
			}
		}()
		if err = f(ctx); err == nil {
			outcome = "nil"
		} else {
			outcome = "error"
		}
		return err
	}
}

func (w *world) behaviour(h *probe, depth int) function {
	d := w.moment()
	kind := w.rand.IntN(13)
	if depth == 0 {
		kind = w.rand.IntN(9)
	}
	switch kind {
	case 0:
		return w.leaf(h, "ok", func(ctx context.Context) error { return sleep(ctx, d) })
	case 1:
		return w.leaf(h, "error", func(ctx context.Context) error { return errors.Join(sleep(ctx, d), errors.New("refused")) })
	case 2:
		return w.leaf(h, "panic", func(ctx context.Context) error { sleep(ctx, d); panic("broken") })
	case 3:
		return w.leaf(h, "goexit", func(ctx context.Context) error { sleep(ctx, d); runtime.Goexit(); return nil })
	case 4:
		return w.leaf(h, "overrun", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
	case 5:
		h.obedient = false
		return w.leaf(h, "hang", func(context.Context) error { <-w.release; return nil })
	case 6:
		h.obedient = false
		return w.leaf(h, "ignore", func(context.Context) error { time.Sleep(d); return nil })
	case 7:
		h.obedient = false
		child := w.leaf(h, "spawned", func(context.Context) error { <-w.release; return nil })
		return w.leaf(h, "spawn", func(ctx context.Context) error {
			done := make(chan error)
			go func() { done <- child(ctx) }()
			return <-done
		})
	case 8:
		kind := []string{"Error blocks", "Unwrap blocks", "Error panics", "Unwrap panics"}[w.rand.IntN(4)]
		h.obedient = h.obedient && !strings.HasSuffix(kind, "blocks")
		return w.leaf(h, kind, func(context.Context) error { return w.strangeError(kind) })
	case 9:
		w.dynamic, h.adds = true, true
		before, after := w.plan(depth-1), w.behaviour(h, depth-1)
		return func(ctx context.Context) error { before(); return after(ctx) }
	case 10:
		w.dynamic, h.adds = true, true
		before, after := w.behaviour(h, depth-1), w.plan(depth-1)
		return func(ctx context.Context) error { defer after(); return before(ctx) }
	case 11:
		return shutdown.Within(d, w.behaviour(h, depth-1))
	default:
		var members []shutdown.Hook
		for range w.rand.IntN(4) {
			m := shutdown.Hook{Name: "member", Func: w.behaviour(h, depth-1)}
			if w.one(4) {
				m.Timeout = 1 + w.moment()
			}
			members = append(members, m)
		}
		return shutdown.Parallel(members...)
	}
}

// leaf counts the goroutines in f.
func (w *world) leaf(h *probe, kind string, f function) function {
	h.kind += kind + " "
	count := func(n int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		h.live += n
	}
	return func(ctx context.Context) error {
		count(1)
		defer count(-1)
		return f(ctx)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d == 0 {
		// Not by a timer: two that are due when they are selected crash the race
		// detector, since the goroutines of a bubble share one context of it for
		// timers (runtime.(*timer).unlockAndRun, go1.26).
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// play runs the pipeline, and what happens at the same time.
func (w *world) play() {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	w.running = true
	if w.one(4) {
		w.forced = w.moment()
		w.at(w.forced, func() { cancel(errImpatient) })
	}
	for range w.rand.IntN(3) {
		w.dynamic = true
		w.at(w.moment(), w.plan(1))
	}
	var again *shutdown.Report
	var returned time.Duration
	if at := w.moment(); w.one(8) && at > 0 {
		w.at(at, func() {
			again = w.p.Run(context.Background())
			returned = time.Since(w.begin)
		})
	}

	defer w.startCrowd()()
	stalls := 0
	w.report = w.p.Run(stallingContext{ctx, func() { w.stall(&stalls) }}, w.first...)
	if took := time.Since(w.begin); took != w.report.Took && w.stalls == 0 {
		w.Errorf("Run took %v, report says %v", took, w.report.Took)
	}
	synctest.Wait()
	w.mu.Lock()
	for _, h := range w.hooks {
		h.left = h.live
	}
	w.mu.Unlock()
	w.helpers.Wait()
	if again != nil && (again != w.report || returned < w.report.Took) {
		w.Errorf("the second Run returned %p at %v, the first %p at %v", again, returned, w.report, w.report.Took)
	}
}

// at calls f after d. The random numbers for f are drawn before Run.
func (w *world) at(d time.Duration, f func()) {
	w.helpers.Go(func() { time.Sleep(d); f() })
}

var errImpatient = errors.New("second signal")

func (w *world) check() {
	defer func() {
		close(w.release)
		time.Sleep(time.Hour) // for those that sleep
		if w.Failed() {
			w.Logf("grace %v, reserve %v, forced at %v, %+v, %d goroutines before\n%v", w.p.Grace, w.reserve, w.forced, w.trouble, w.before, w.report)
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, h := range w.hooks {
				w.Logf("%+v", *h)
			}
		}
	}()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.report

	// Run returns inside Grace, and soon when it is forced. A stall makes it late by
	// as much.
	if r.Took >= w.p.Grace+w.stalled {
		w.Errorf("Run took %v of %v", r.Took, w.p.Grace)
	}
	soon := 100 * time.Millisecond
	if w.log != "" {
		soon *= 2 // the log is waited for
	}
	if w.forced >= 0 && r.Took > w.forced+soon+w.stalled {
		w.Errorf("forced at %v, Run took %v", w.forced, r.Took)
	}
	if r.Unlogged > 0 && w.log == "" && !w.dynamic || r.Unlogged == 0 && len(r.Steps) > 0 && (w.log == "blocks" || w.log == "panics") {
		w.Errorf("the log %s, and %d records are unlogged", w.log, r.Unlogged)
	}
	if r.Forced && w.forced < 0 {
		w.Error("Forced, but nobody did")
	}

	// The report accounts for each hook exactly once; those deferred after the
	// end are not in it, but have run.
	steps := map[string]shutdown.Step{}
	for i, s := range r.Steps {
		if _, twice := steps[s.Name]; twice {
			w.Errorf("hook %s is twice in the report", s.Name)
		}
		steps[s.Name] = s
		if i > 0 && s.Start < r.Steps[i-1].Start {
			w.Errorf("step %d starts before the one above it", i)
		}
	}
	stuck := false
	last := time.Duration(0) // moment at which a hook could be added to the stack
	for _, s := range r.Steps {
		last = max(last, s.Start+s.Took)
	}
	last = min(last, w.spareEnd())
	if r.Forced {
		last = min(last, w.forced)
	}
	for _, h := range w.hooks {
		s, reported := steps[h.name]
		switch {
		case reported:
			w.checkStep(h, s)
			stuck = stuck || s.State == shutdown.Stuck
		case h.deferred < last:
			w.Errorf("hook %s, deferred at %v, is not in the report", h.name, h.deferred)
		case h.runs != 1 || h.dead || h.had < leastBudget(w.reserve, h.timeout):
			w.Errorf("hook %s, deferred after the end, ran %d times, had %v, context dead: %v", h.name, h.runs, h.had, h.dead)
		case !h.obedient || h.live > 0:
			stuck = true
		}
	}
	if len(steps) > len(w.hooks) {
		w.Errorf("%d steps for %d hooks", len(steps), len(w.hooks))
	}
	w.checkOrder(steps)

	// The error is nil if and only if every step was clean.
	clean := true
	for _, s := range r.Steps {
		clean = clean && s.State == shutdown.OK
	}
	if (r.Err() == nil) != clean {
		w.Errorf("Err is %v, all steps clean: %v", r.Err(), clean)
	}

	// Without a Stuck hook no goroutine is left.
	if !stuck && w.log == "" {
		w.noneBlocked()
	}
}

// noneBlocked fails when there is a goroutine in the bubble but those that are
// there from the start.
func (w *world) noneBlocked() {
	const own = 3 // this one, and two of synctest
	var all []byte
	for range 1000 { // some may be on their way out
		if runtime.NumGoroutine() <= w.before {
			return
		}
		// Some of the runtime's own are counted, but not shown.
		buf := make([]byte, 1<<16)
		all = buf[:runtime.Stack(buf, true)]
		if bytes.Count(all, []byte("synctest bubble")) <= own {
			return
		}
		runtime.Gosched()
	}
	w.Errorf("goroutines are left:\n%s", all)
}

func (w *world) checkStep(h *probe, s shutdown.Step) {
	fail := func(format string, args ...any) {
		w.Errorf("hook %s: %s", h.name, fmt.Sprintf(format, args...))
	}

	// Every hook runs once, or is Skipped.
	if want := map[bool]int{true: 0, false: 1}[s.State == shutdown.Skipped]; h.runs != want {
		fail("is %v, ran %d times", s.State, h.runs)
	}
	if (s.Err == nil) != (s.State == shutdown.OK) {
		fail("is %v, error %v", s.State, s.Err)
	}
	var he *shutdown.HookError
	if s.Err != nil && (!errors.As(s.Err, &he) || he.Name != h.name) {
		fail("error is %v", s.Err)
	}
	if s.State == shutdown.Skipped {
		w.checkSkipped(h, s, fail)
		return
	}

	// It had its Reserve, and a live context that does not outlive the grace.
	least := 0 * time.Second
	if w.fits() {
		least = leastBudget(w.reserve, h.timeout)
	}
	dead := h.dead && h.started != w.forced && s.Budget > 0 // forced at this very moment: it may see that at once
	if dead || h.had < least || s.Budget < least {
		fail("had %v (budget %v) of at least %v, context dead: %v", h.had, s.Budget, least, dead)
	}
	if h.started != s.Start || h.started+h.had > w.p.Grace+w.stalled {
		fail("started at %v (report: %v), context for %v", h.started, s.Start, h.had)
	}

	// Its state is what its function did, or Stuck when that did nothing.
	end := s.Start + s.Took
	returned := h.outcome != "" && h.ended <= end
	switch s.State {
	case shutdown.OK:
		if h.outcome != "nil" || h.ended != end {
			fail("is ok at %v", end)
		}
	case shutdown.Failed:
		if !returned || h.outcome != "error" && h.outcome != "goexit" {
			fail("is failed at %v", end)
		}
	case shutdown.Panicked:
		if !returned || he.Panic == nil || len(he.Stack) == 0 {
			fail("is panicked, with %v, stack %q", he.Panic, he.Stack)
		}
	case shutdown.Stuck:
		if !errors.Is(s.Err, context.DeadlineExceeded) {
			fail("is stuck, with %v", s.Err)
		}
		addsLate := h.adds && end >= w.spareEnd() // and so runs what it adds
		if h.obedient && !addsLate {
			fail("is stuck, but none of its functions ignores its context")
		}
		stack := string(he.Stack)
		// The runtime may count goroutines of a crowd that has ended, during a GC.
		said := strings.HasPrefix(stack, "none: its goroutine has not") || strings.HasPrefix(stack, "left out: ")
		if h.left > 0 && !said && !strings.Contains(stack, "world") {
			fail("is stuck, with the stack %q", he.Stack)
		}
	}
	if h.left > 0 && s.State != shutdown.Stuck {
		fail("is %v, and left %d goroutines", s.State, h.left)
	}
}

// spareEnd is when the time is up: what is added later is run by who adds it.
func (w *world) spareEnd() time.Duration { return w.p.Grace - w.p.Grace/25 }

// fits reports whether there was a Reserve for every hook. It is kept for one hook
// that is added meanwhile. Of the stalls a thousandth of the grace a step may be
// charged to the hooks, but for a hundredth.
func (w *world) fits() bool {
	added := 0
	for _, h := range w.hooks {
		if h.dynamic {
			added++
		}
	}
	n := time.Duration(len(w.hooks))
	charged := time.Duration(0)
	if w.stalls > 0 {
		charged = max(0, w.p.Grace/1000*n-w.p.Grace/100)
	}
	return added <= 1 && w.reserve*n <= w.usable-charged
}

func leastBudget(reserve, timeout time.Duration) time.Duration {
	if timeout > 0 {
		return min(reserve, timeout)
	}
	return reserve
}

// checkSkipped checks that only a force skips a hook.
func (w *world) checkSkipped(h *probe, s shutdown.Step, fail func(string, ...any)) {
	if !w.report.Forced || !errors.Is(s.Err, errImpatient) {
		fail("skipped, forced: %v, with %v", w.report.Forced, s.Err)
	}
}

// checkOrder checks that of the hooks that wait the last one deferred runs. Two
// that are deferred during Run at the same moment may be so in any order.
func (w *world) checkOrder(steps map[string]shutdown.Step) {
	for i, s := range w.report.Steps {
		running := w.find(s.Name)
		for _, later := range w.report.Steps[i+1:] {
			waiting := w.find(later.Name)
			waited := waiting.deferred < s.Start || !waiting.dynamic
			sure := waiting.deferred != running.deferred || !running.dynamic || !waiting.dynamic
			if waited && sure && waiting.key > running.key {
				w.Errorf("hook %s ran before hook %s", s.Name, later.Name)
			}
		}
	}
}

func (w *world) find(name string) *probe {
	i, _ := strconv.Atoi(name)
	return w.hooks[i]
}
