// SPDX-License-Identifier: MIT

package shutdown

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Parallel returns a function that runs all hooks at once and returns when all
// have ended or have been given up on. As a hook it is one step with one budget,
// and the report lists the hooks as [Step].Members. A Timeout limits one of them.
// A hook without a Name is named by its position, "1" being the first.
//
// The function's error joins a *[HookError] for each hook that was not clean. A
// hook that panics or calls runtime.Goexit does not disturb the others.
//
// Parallel panics when a Func is nil.
func Parallel(hooks ...Hook) func(context.Context) error {
	hooks = slices.Clone(hooks)
	for i := range hooks {
		if hooks[i].Name == "" {
			hooks[i].Name = strconv.Itoa(i + 1)
		}
		if hooks[i].Func == nil {
			panic(fmt.Sprintf("shutdown: Parallel: hook %q has no Func", hooks[i].Name))
		}
	}
	return func(ctx context.Context) error { return runParallel(ctx, hooks) }
}

func runParallel(ctx context.Context, hooks []Hook) error {
	members, stacks := make([]*task, len(hooks)), stacksFrom(ctx)
	for i, h := range hooks {
		m := newInnerTask(ctx, h.Timeout, stacks)
		m.step, m.name, m.prefix = true, h.Name, h.Name+": "
		members[i] = m
	}
	taskFrom(ctx).addMembers(members)

	errs := make([]error, len(hooks))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() {
			giveUp := m.supervise(ctx, hooks[i].Func)
			errs[i] = m.report(m.began, giveUp).Err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// addMembers enters members in the report, under the hook or member that t is
// or is in.
func (t *task) addMembers(members []*task) {
	for t != nil && !t.step {
		t = t.outer
	}
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.members = append(t.members, members...)
}

// Within returns a function that gives f at most d, or less where its context
// ends earlier. It may be used inside a hook, and without a pipeline.
//
// When f ignores the end of its context, the function returns without it. Its
// error is then a *[HookError] with the stacks of f's goroutines, and
// errors.Is(err, context.DeadlineExceeded) holds. When f panics or calls
// runtime.Goexit, the function returns an error. If d is zero or less, only the
// context's end limits f.
//
// Within panics when f is nil.
func Within(d time.Duration, f func(context.Context) error) func(context.Context) error {
	if f == nil {
		panic(fmt.Sprintf("shutdown: Within(%v, nil): no function", d))
	}
	return func(ctx context.Context) error {
		t := newInnerTask(ctx, d, stacksFrom(ctx))
		giveUp := t.supervise(ctx, f)
		return t.finish(giveUp)
	}
}

// supervise runs f and waits for its end or gives up on it.
func (t *task) supervise(ctx context.Context, f func(context.Context) error) (giveUp time.Time) {
	stop := t.start(ctx, f)
	defer stop()
	timer := time.NewTimer(t.lasts())
	defer timer.Stop()
	return t.wait(timer, ctx.Done(), nil)
}
