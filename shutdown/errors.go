package shutdown

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// HookError is a hook, or a member of [Parallel], that did not end cleanly.
//
// It satisfies errors.Is and errors.As for the error that the hook returned;
// for the value of a panic, when that is an error; for
// [context.DeadlineExceeded], when the hook was Stuck or no time was left for
// it; and for the cause of the context given to Run, when the hook was Skipped
// because the shutdown was forced.
type HookError struct {
	Name  string // empty for the function in a Within
	Err   error  // never nil
	Panic any    // the value, if it panicked

	// Stack is that of the panic, or those of the goroutines of a Stuck hook:
	// those and no others. (In a program that was built with
	// -tags entrypoint_lean one whose starter has ended is missing.)
	Stack []byte

	state State
	hook  bool // all of a hook, not a part
}

// Error leaves the call of Err's method to fmt, which survives a nil pointer.
func (e *HookError) Error() string {
	switch {
	case e.hook:
		return fmt.Sprintf("shutdown: hook %q: %v", e.Name, e.Err)
	case e.Name != "":
		return fmt.Sprintf("%s: %v", e.Name, e.Err)
	default:
		return fmt.Sprint(e.Err)
	}
}

// Unwrap returns Err.
func (e *HookError) Unwrap() error { return e.Err }

// newHookError is err under a name. It is as bad as the worst of its parts.
func newHookError(name string, err error) *HookError {
	if e, ok := err.(*HookError); ok && e != nil && e.Name == "" && e.state != OK {
		named := *e
		named.Name = name
		return &named
	}
	e := &HookError{Name: name, Err: err, state: Failed}
	if part := worst(err); part != nil {
		e.state, e.Panic, e.Stack = part.state, part.Panic, part.Stack
	}
	return e
}

// worst finds the HookError of what is Stuck or, if nothing is, of what panicked
// in a tree of errors. It is nil if there is neither.
func worst(err error) (found *HookError) {
	defer func() { _ = recover() }() // a nil pointer of some type, with an Unwrap that does not expect that

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

// panicError keeps an error that somebody panicked with in the tree.
func panicError(v any) error {
	if err, ok := v.(error); ok {
		return fmt.Errorf("panic: %w", err)
	}
	return fmt.Errorf("panic: %v", v)
}

// The errors below are context.DeadlineExceeded to errors.Is.

// budgetError is the cause of a context whose budget is used up.
type budgetError struct {
	name   string
	budget time.Duration
}

func (e *budgetError) Error() string {
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
