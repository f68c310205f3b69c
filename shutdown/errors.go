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
// when the hook was Stuck or no time was left for it, and the cause of the
// context given to Run when that made the hook Skipped.
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
	case e.text != "":
		return e.text
	case e.Name != "":
		return fmt.Sprintf("%s: %v", e.Name, e.Err) // fmt survives nil pointers
	default:
		return fmt.Sprint(e.Err)
	}
}

// Unwrap returns Err.
func (e *HookError) Unwrap() error { return e.Err }

// newHookError is err under a name, as bad as the worst error in it. It calls
// methods of err.
func newHookError(name, text string, err error) *HookError {
	e := &HookError{Name: name, Err: err, state: Failed}
	if part := worst(err); part != nil {
		e.state, e.Panic, e.Stack = part.state, part.Panic, part.Stack
	}
	e.text = fmt.Sprintf("%s%v", text, err)
	return e
}

// worst finds the HookError of what is Stuck or, if nothing is, of what panicked
// in a tree of errors. It is nil if there is neither.
func worst(err error) (found *HookError) {
	defer func() { _ = recover() }() // an Unwrap that does not expect a nil pointer

	consider := func(e *HookError) {
		if e != nil && (e.state == Panicked || e.state == Stuck) && (found == nil || e.state > found.state) {
			found = e
		}
	}
	if e, ok := err.(*HookError); ok {
		consider(e)
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		consider(worst(e.Unwrap()))
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			consider(worst(part))
		}
	}
	return found
}

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

// The errors below are context.DeadlineExceeded to errors.Is.

// budgetError is the cause of a context whose budget is used up.
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
type stuckError struct{ took, budget time.Duration }

func (e *stuckError) Error() string {
	return fmt.Sprintf("ignored the end of its context: still running after %s of %s, left behind", short(e.took), short(e.budget))
}

func (e *stuckError) Is(target error) bool { return target == context.DeadlineExceeded }

// noTimeError is why a hook is skipped although nobody forced the shutdown.
type noTimeError struct{}

func (noTimeError) Error() string { return "no time left within the grace period" }

func (noTimeError) Is(target error) bool { return target == context.DeadlineExceeded }
