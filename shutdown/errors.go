// SPDX-License-Identifier: MIT

package shutdown

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// HookError is the error of a hook, or of a member of [Parallel], that did not
// end cleanly.
//
// errors.Is and errors.As find the error that the hook returned, and the value of
// a panic when that is an error. errors.Is also finds [context.DeadlineExceeded]
// when the hook was Stuck, and the cause of the end of Run's context when that
// made the hook Skipped. The methods of the hook's error have been called in the
// hook: if one of them panics, Err has only its text.
type HookError struct {
	Name  string // empty for the function in a Within
	Err   error  // never nil
	Panic any    // the value, if it panicked

	// Stack is the stack of the panic, or the stacks of a Stuck hook's
	// goroutines: the first one and those that descend from it, unless their
	// parents have ended. Programs built with Go 1.26 or later and run with
	// GODEBUG=tracebacklabels=1 see those, too. With very many goroutines in the
	// process it only says so: listing them would stop all of them for too long.
	Stack []byte

	state State
	text  string // of Error, if it is known
}

// Error is Err's text after the hook's name.
func (e *HookError) Error() string {
	switch {
	case e == nil:
		return "<nil>"
	case e.text != "":
		return e.text
	case e.Name != "":
		return fmt.Sprintf("%s: %v", e.Name, e.Err) // fmt survives nil pointers
	default:
		return fmt.Sprint(e.Err)
	}
}

// Unwrap returns Err.
func (e *HookError) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// newHookError is err under a name, as bad as the worst error in it. It calls the
// methods of err, in the hook's goroutine: one that blocks makes the hook Stuck.
func newHookError(name, prefix string, err error) *HookError {
	text, worst, broken := inspect(err)
	e := &HookError{Name: name, Err: err, state: Failed, text: prefix + text}
	switch {
	case broken != nil:
		// Nobody else should call these methods.
		e.Err = errors.New(text + " (" + broken.Err.Error() + ")")
		e.state, e.Panic, e.Stack, e.text = broken.state, broken.Panic, broken.Stack, prefix+e.Err.Error()
	case worst != nil:
		e.state, e.Panic, e.Stack = worst.badness(), worst.Panic, worst.Stack
	}
	return e
}

// badness is Stuck, Panicked or less. A HookError that another package has made for a
// panic has no state.
func (e *HookError) badness() State {
	switch {
	case e.state == Skipped:
		return Failed // of another Pipeline
	case e.Panic != nil:
		return max(e.state, Panicked)
	}
	return e.state
}

// inspect calls each method that errors.Is and errors.As would call. It returns
// the text of err, and the error of what is Stuck in its tree or, if nothing is,
// of what panicked. If the methods cannot be used, broken says why.
func inspect(err error) (text string, worst, broken *HookError) {
	defer func() {
		if v := recover(); v != nil {
			broken = newPanicError(v)
		}
	}()
	text = fmt.Sprint(err) // survives nil pointers and panics
	t := tree{left: maxTree}
	t.visit(err)
	if t.left < 0 {
		broken = &HookError{Err: fmt.Errorf("more than %d errors in its tree", maxTree), state: Failed}
	}
	return text, t.worst, broken
}

// maxTree is how many errors in a tree are looked at. It may have a cycle.
const maxTree = 10_000

type tree struct {
	left  int
	worst *HookError
}

func (t *tree) visit(err error) {
	if t.left--; err == nil || t.left < 0 {
		return
	}
	if e, ok := err.(*HookError); ok && e != nil {
		if bad := e.badness(); bad >= Panicked && (t.worst == nil || bad > t.worst.badness()) {
			t.worst = e
		}
	}
	if e, ok := err.(interface{ Is(error) bool }); ok {
		e.Is(errNone)
	}
	if e, ok := err.(interface{ As(any) bool }); ok {
		var none *noneError
		e.As(&none)
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		t.visit(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			t.visit(part)
		}
	}
}

// noneError is in no tree.
type noneError struct{}

var errNone error = new(noneError)

func (*noneError) Error() string { return "none" }

// errGoexit is the error of a function that called runtime.Goexit.
var errGoexit = errors.New("ended by runtime.Goexit, without returning")

// newPanicError is the error of a function that panicked with v.
func newPanicError(v any) *HookError {
	e := &HookError{Panic: v, Stack: panicStack(), state: Panicked}
	if err, ok := v.(error); ok {
		e.Err = fmt.Errorf("panic: %w", err) // keeps err in the tree
	} else {
		e.Err = fmt.Errorf("panic: %v", v)
	}
	return e
}

// budgetError is the cause of a context whose budget is used up. It is a
// context.DeadlineExceeded, like stuckError.
type budgetError struct {
	name   string // empty for Within
	budget time.Duration
}

func (e *budgetError) Error() string {
	if e.name == "" {
		return fmt.Sprintf("shutdown: the limit of %s has passed", short(e.budget))
	}
	return fmt.Sprintf("shutdown: the budget of %q, %s, is used up", e.name, short(e.budget))
}

func (e *budgetError) Is(target error) bool { return target == context.DeadlineExceeded }

// stuckError is the error of a function that ignored the end of its context.
type stuckError struct {
	took, budget time.Duration
	what         string // that the function waited for, if it said so
}

func (e *stuckError) Error() string {
	what, of := "", ""
	if e.what != "" {
		what = e.what + ": "
	}
	if e.budget > 0 {
		of = " of " + short(e.budget)
	}
	return fmt.Sprintf("%signored the end of its context: still running after %s%s, left behind", what, short(e.took), of)
}

func (e *stuckError) Is(target error) bool { return target == context.DeadlineExceeded }

// forcedError is why a hook is Skipped.
type forcedError struct {
	cause error
	text  string
}

func (e *forcedError) Error() string { return "skipped: the shutdown was forced: " + e.text }

func (e *forcedError) Unwrap() error { return e.cause }

// newForcedError does not wait for long for the text of the cause.
func newForcedError(cause error) *forcedError {
	text := make(chan string, 1)
	go func() { text <- fmt.Sprint(cause) }()
	timer := time.NewTimer(forceWait)
	defer timer.Stop()
	select {
	case s := <-text:
		return &forcedError{cause, s}
	case <-timer.C:
		return &forcedError{cause, "the Error method of the cause blocks"}
	}
}
