// SPDX-License-Identifier: MIT

package pid1

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

// A preflight is one step of Before or OnReady.
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
	a.before = append(a.before, a.newStep("Before", name, f))
}

// OnReady adds a step for when all servers listen and have been started: to
// register the process in a directory, to warm a cache, to take part in an
// election. Until the last step is done the App is not Ready, and systemd is not
// told READY=1; requests that come are served. Otherwise a step is like one of
// Before: the first error or panic begins a stop, and Run returns it.
//
// OnReady panics when it is called after Run, or with a nil f.
func (a *App) OnReady(name string, f func(context.Context) error) {
	a.onReady = append(a.onReady, a.newStep("OnReady", name, f))
}

func (a *App) newStep(kind, name string, f func(context.Context) error) preflight {
	if f == nil {
		panic(fmt.Sprintf("pid1: %s(%q): nil function", kind, name))
	}
	if a.ran.Load() {
		panic(fmt.Sprintf("pid1: %s(%q) called after Run", kind, name))
	}
	return preflight{name, f}
}

// runSteps runs the steps of Before or OnReady until one fails or a stop begins. If
// that comes while a step runs, running is the step's call.
func (a *App) runSteps(s *stop, kind string, steps []preflight) (running *shutdown.Hook, err error) {
	for _, step := range steps {
		if s.start.Err() != nil {
			return nil, nil
		}
		c := goCall(kind+" "+step.name, func() error { return step.f(s.start) }, nil)
		select {
		case <-c.done:
			if err := a.stepEnded(s, kind, step.name, c.err); err != nil {
				return nil, err
			}
		case <-s.begun:
			return &shutdown.Hook{Name: kind + " " + step.name, Func: func(ctx context.Context) error {
				if err := c.wait(ctx); isPanic(err) {
					return err
				}
				return nil // interrupted
			}}, nil
		}
	}
	return nil, nil
}

// stepEnded is the outcome of a step that has returned err.
func (a *App) stepEnded(s *stop, kind, name string, err error) error {
	if err == nil {
		return nil
	}
	if isPanic(err) {
		a.logPanic(err)
	} else if s.start.Err() != nil {
		a.log().Info("step interrupted", kind, name, "error", err)
		return nil
	}
	return &stepError{kind, name, err}
}

// A stepError is the error of a step of Before or OnReady. Its text is made when
// somebody asks for it: methods of a user's error may block.
type stepError struct {
	kind, name string
	err        error
}

func (e *stepError) Error() string { return fmt.Sprintf("pid1: %s %q: %v", e.kind, e.name, e.err) }
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

// RequireEnv returns an error that names all environment variables, out of
// names, that are not set or empty. It returns nil if there are none. An empty
// variable counts as missing because that is what a Compose file or a pod
// template makes of a variable that its own environment lacks. Values are
// neither logged nor part of the error.
//
// Call it before the first use of a variable, or in a step of [App.Before].
func RequireEnv(names ...string) error {
	var unset, empty []string
	for _, name := range names {
		switch value, ok := os.LookupEnv(name); {
		case !ok:
			unset = append(unset, name)
		case value == "":
			empty = append(empty, name)
		}
	}
	var missing []string
	if len(unset) > 0 {
		missing = append(missing, "not set: "+strings.Join(unset, ", "))
	}
	if len(empty) > 0 {
		missing = append(missing, "empty: "+strings.Join(empty, ", "))
	}
	if missing == nil {
		return nil
	}
	return errors.New("pid1: environment variables required but " + strings.Join(missing, "; "))
}
