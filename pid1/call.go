package pid1

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/goroutine"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// A call is a function of the user's that runs in a goroutine of its own. Nobody
// else is harmed if it hangs; if it panics or calls runtime.Goexit, that is its
// error.
type call struct {
	done   chan struct{} // closed when the function has ended
	err    error
	number chan string // of its goroutine, once that runs; who reads it puts it back
}

// goCall calls f, and then after with its error. after may be nil.
func goCall(name string, f func() error, after func(error)) *call {
	c := &call{done: make(chan struct{}), number: make(chan string, 1)}
	go func() {
		defer close(c.done)
		c.number <- goroutine.Current()
		returned := false
		defer func() {
			if !returned {
				c.err = notReturned(name, recover())
			}
			if after != nil {
				after(c.err)
			}
		}()
		c.err = f()
		returned = true
	}()
	return c
}

// wait waits for the end of the call and returns its error. It is for a step of
// the stop: if the call does not end in time, the step is Stuck, with the stack
// of the call.
func (c *call) wait(ctx context.Context) error {
	c.blame(ctx, "")
	<-c.done
	return c.err
}

// blame says that the step waits for the call, and for others, and why.
func (c *call) blame(ctx context.Context, what string, others ...string) {
	number := <-c.number
	c.number <- number
	goroutine.WaitFor(ctx, what, append(others, number)...)
}

// endsWithin waits for the end of the call, for a short time.
func (c *call) endsWithin(d time.Duration) bool {
	select {
	case <-c.done:
	case <-time.After(d):
		return c.ended() // both may have happened
	}
	return true
}

func (c *call) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// errorText is err's text, unless its methods panic or block.
func errorText(err error) string {
	text := ""
	c := goCall("error", func() error { text = err.Error(); return nil }, nil)
	if c.endsWithin(shortWait) && c.err == nil {
		return text
	}
	return fmt.Sprintf("an error of type %T, which has no text", err)
}

// notReturned is the error of a function that ended otherwise.
func notReturned(name string, recovered any) error {
	if recovered == nil {
		return errors.New("ended by runtime.Goexit")
	}
	return &shutdown.HookError{Name: name, Err: &panicError{recovered}, Panic: recovered, Stack: debug.Stack()}
}

// A panicError has the value of a panic. Its text is made when somebody asks for
// it: that of a value may need a lock which the function still holds.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// isPanic reports whether err is that of a call that panicked.
func isPanic(err error) bool {
	e, ok := err.(*shutdown.HookError)
	return ok && e.Panic != nil
}

// logPanic logs what a function of the user's panicked with. It may take shortWait.
func (a *App) logPanic(err error) {
	if e, ok := err.(*shutdown.HookError); ok {
		a.log().Error("panic", "in", e.Name, "panic", errorText(e.Err), "stack", string(e.Stack))
	}
}
