package shutdown

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Parallel returns a function that runs all f at once and returns when all
// have ended. As a hook it is one step, with one budget for all.
//
// Its error joins a *[HookError] for each f that was not clean; one that panics
// or calls runtime.Goexit does not disturb the others. The report lists all as
// [Step].Members, by the name that [Named] gives, else by the name of the
// function or method, else by position, "1" being the first.
//
// Parallel panics when an f is nil.
func Parallel(f ...func(context.Context) error) func(context.Context) error {
	for i, f := range f {
		if f == nil {
			panic(fmt.Sprintf("shutdown: Parallel: function %d is nil", i+1))
		}
	}
	return parallel(f).run
}

// Within returns a function that gives f at most d, or less where its context
// ends earlier. As a hook it has d as its budget in the report. It works as
// well where no pipeline is.
//
// When f ignores the end of its context, the function returns without it; its
// error is a *[HookError] with the stack of f's goroutines, and
// errors.Is(err, context.DeadlineExceeded) holds. A panic of f and a
// runtime.Goexit come back as an error, too. With d ≤ 0 there is no limit but
// the context's.
//
// Within panics when f is nil.
func Within(d time.Duration, f func(context.Context) error) func(context.Context) error {
	must(f, "Within(%v, nil)", d)
	return (&within{d, f}).run
}

// Named returns f under a name, for the report on [Parallel]. The outermost
// name counts. It has no effect elsewhere. Named panics when f is nil.
func Named(name string, f func(context.Context) error) func(context.Context) error {
	must(f, "Named(%q, nil)", name)
	return (&named{name, f}).run
}

// Patient returns f as a hook that is meant to use much of its budget, such as
// a delay: it is not named in a warning after a quarter of it. Patient panics
// when f is nil.
func Patient(f func(context.Context) error) func(context.Context) error {
	must(f, "Patient(nil)")
	return (&patient{f}).run
}

func must(f func(context.Context) error, call string, args ...any) {
	if f == nil {
		panic("shutdown: " + fmt.Sprintf(call, args...) + ": no function")
	}
}

// What these functions return are methods of the types below, not closures: a
// closure inlined into the user's function would be the user's to direct.

type parallel []func(context.Context) error

func (p parallel) run(ctx context.Context) error {
	members := p.members(ctx)
	var wg sync.WaitGroup
	for i, f := range p {
		wg.Go(func() { members[i].run(ctx, f) })
	}
	wg.Wait()

	var errs []error
	for _, m := range members {
		errs = append(errs, m.step(m.began, goroutineProfile).Err)
	}
	return errors.Join(errs...)
}

// members makes a task for each function and enters it in the report.
func (p parallel) members(ctx context.Context) []*task {
	id, now := childID(ctx), time.Now()
	var budget time.Duration
	if end, ok := ctx.Deadline(); ok {
		budget = end.Sub(now)
	}

	members := make([]*task, len(p))
	for i, f := range p {
		e := &entry{name: funcName(f), budget: budget}
		if e.name == "" {
			e.name, e.numbered = strconv.Itoa(i+1), true
		}
		members[i] = &task{
			entry:  e,
			whole:  true,
			id:     id + "." + strconv.Itoa(i+1),
			began:  now,
			budget: budget,
			settle: maxSettle,
			done:   make(chan struct{}),
		}
	}
	if t := taskFrom(ctx); t != nil {
		for _, m := range members {
			m.settle = t.settle // t waits for them, they for nobody
		}
		t.entry.mu.Lock()
		defer t.entry.mu.Unlock()
		t.entry.members = append(t.entry.members, members...)
	}
	return members
}

type within struct {
	d time.Duration
	f func(context.Context) error
}

func (w *within) run(ctx context.Context) error {
	now := time.Now()
	end, limited := ctx.Deadline()
	if w.d <= 0 && !limited {
		return w.f(ctx)
	}
	t := &task{
		id:     childID(ctx),
		began:  now,
		budget: w.d,
		settle: maxSettle,
		done:   make(chan struct{}),
	}
	if limited && (w.d <= 0 || end.Sub(now) < w.d) {
		t.budget = end.Sub(now)
	}

	// It is all of the outer task's entry, or a part of it, or nobody sees it.
	outer := taskFrom(ctx)
	if outer == nil {
		t.entry = &entry{name: funcName(w.f)}
	} else {
		t.entry, t.whole = outer.entry, outer.whole && direct()
	}
	if outer != nil && limited {
		// What is inside is given up on first: what is around it can go on.
		t.settle = min(maxSettle, end.Sub(now)-t.budget+outer.settle/2)
	}
	if t.whole {
		t.entry.tighten(t.budget, w.f)
	}

	stop := t.start(ctx, w.f)
	defer stop()
	timer := time.NewTimer(t.budget / 4)
	defer timer.Stop()
	t.wait(timer, t.began.Add(t.budget+t.settle), nil, nil)
	return t.finish(goroutineProfile)
}

func (e *entry) tighten(budget time.Duration, f func(context.Context) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.budget = min(e.budget, budget)
	if name := funcName(f); e.numbered && name != "" {
		e.name, e.numbered = name, false
	}
}

type named struct {
	name string
	f    func(context.Context) error
}

func (n *named) run(ctx context.Context) error {
	if t := taskFrom(ctx); t != nil && t.whole && direct() {
		t.entry.rename(n.name)
	}
	return n.f(ctx)
}

// rename gives a member its name. A hook has one from Defer.
func (e *entry) rename(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.hook && !e.named {
		e.name, e.named, e.numbered = name, true, false
	}
}

type patient struct {
	f func(context.Context) error
}

func (p *patient) run(ctx context.Context) error {
	if t := taskFrom(ctx); t != nil && t.whole && direct() {
		t.entry.mu.Lock()
		t.entry.patient = true
		t.entry.mu.Unlock()
	}
	return p.f(ctx)
}

// direct reports whether the method that calls it was called by this package:
// Within(d, f) that is the hook itself sets the hook's budget; one called
// somewhere inside a hook does not.
func direct() bool {
	var caller [1]uintptr
	runtime.Callers(3, caller[:]) // 0 is Callers, 1 direct, 2 the method
	frame, _ := runtime.CallersFrames(caller[:]).Next()
	return strings.HasPrefix(frame.Function, packagePath()+".")
}

// funcName is the name of f without its package, such as "flush" or
// "DB.Close". It is empty for a function literal and for one of this package.
func funcName(f func(context.Context) error) string {
	name := runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
	if strings.HasPrefix(name, packagePath()+".") {
		return ""
	}
	name = name[strings.LastIndexByte(name, '/')+1:]
	_, name, _ = strings.Cut(name, ".")
	for _, part := range strings.Split(name, ".") {
		if digits, ok := strings.CutPrefix(part, "func"); ok && strings.Trim(digits, "0123456789") == "" {
			return ""
		}
	}
	name = strings.TrimSuffix(name, "-fm")
	return strings.NewReplacer("(*", "", "(", "", ")", "").Replace(name)
}

func packagePath() string { return reflect.TypeFor[task]().PkgPath() }
