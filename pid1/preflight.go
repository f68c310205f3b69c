package pid1

import (
	"context"
	"fmt"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

// A preflight is one step of Before.
type preflight struct {
	name string
	f    func(context.Context) error
}

// Before adds a step that must succeed before anything listens. Steps run in the
// order they were added. The ctx of a step ends when a stop begins;
// [shutdown.Within] gives it a deadline. The first error, or panic, ends the
// start: the deferred hooks run, and Run returns the error with the step's name.
//
// What a step returns after a stop has begun is not an error of Run; only a panic
// is. A step that ignores the end of its ctx is waited for as a shutdown hook is,
// and then left behind.
//
// Before panics when it is called after Run, or with a nil f.
func (a *App) Before(name string, f func(context.Context) error) {
	if f == nil {
		panic(fmt.Sprintf("pid1: Before(%q): nil function", name))
	}
	if a.ran.Load() {
		panic(fmt.Sprintf("pid1: Before(%q) called after Run", name))
	}
	a.before = append(a.before, preflight{name, f})
}

// check runs the steps of Before until one fails or a stop begins. If that comes
// while a step runs, running is the step's call.
func (a *App) check(s *stop) (running *shutdown.Hook, err error) {
	for _, step := range a.before {
		if s.start.Err() != nil {
			return nil, nil
		}
		c := goCall("before "+step.name, func() error { return step.f(s.start) }, nil)
		select {
		case <-c.done:
			if err := a.checked(s, step, c.err); err != nil {
				return nil, err
			}
		case <-s.begun:
			return &shutdown.Hook{Name: "before " + step.name, Func: func(ctx context.Context) error {
				if err := c.wait(ctx); isPanic(err) {
					return err
				}
				return nil // interrupted
			}}, nil
		}
	}
	return nil, nil
}

// checked is the outcome of a step of Before that has returned err.
func (a *App) checked(s *stop, step preflight, err error) error {
	if err == nil {
		return nil
	}
	if isPanic(err) {
		a.logPanic(err)
	} else if s.start.Err() != nil {
		a.log().Info("step interrupted", "before", step.name, "error", err)
		return nil
	}
	return &stepError{step.name, err}
}

// A stepError is the error of a step of Before. Its text is made when somebody asks
// for it: methods of a user's error may block.
type stepError struct {
	name string
	err  error
}

func (e *stepError) Error() string { return fmt.Sprintf("pid1: before %q: %v", e.name, e.err) }
func (e *stepError) Unwrap() error { return e.err }

// checkAll checks the settings of the servers. A file that hangs does not keep a
// stop from beginning; then stopped is true.
func checkAll(s *stop, servers []*serverState) (stopped bool, err error) {
	c := goCall("settings", func() error {
		for _, p := range servers {
			if err := p.check(); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	select {
	case <-c.done:
		return false, c.err
	case <-s.begun:
		return true, nil
	}
}
