// SPDX-License-Identifier: MIT

//go:build unix

package pid1_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// A raw accept loop: the error by which it ends when it is closed is none.
func TestServiceStops(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var app pid1.App
	s := run(t, &app, pid1.Service(func() error {
		for {
			conn, err := l.Accept()
			if err != nil {
				return err
			}
			io.WriteString(conn, "hello")
			conn.Close()
		}
	}, func(context.Context) error { return l.Close() }))
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(conn); string(got) != "hello" {
		t.Errorf("got %q", got)
	}
	conn.Close()
	s.stopCleanly()
	if got := flat(s.report().Steps); got != "service" {
		t.Errorf("report %q", got)
	}
}

// What stop returns counts; so does what serve returns of its own accord.
func TestServiceErrors(t *testing.T) {
	boom := errors.New("boom")
	served := make(chan struct{})
	app := pid1.App{Logger: discard}
	ctx, cancel := context.WithCancel(t.Context())
	err := app.Run(ctx, pid1.Service(func() error { cancel(); <-served; return nil },
		func(context.Context) error { close(served); return boom }))
	if !errors.Is(err, boom) {
		t.Errorf("stop fails: %v, want %v", err, boom)
	}

	app = pid1.App{Logger: discard}
	stopped := 0
	err = app.Run(t.Context(), pid1.Named("fast", pid1.Service(func() error { return boom },
		func(context.Context) error { stopped++; return nil })))
	var ended *pid1.ServerError
	if !errors.As(err, &ended) || ended.Server != "fast" || !errors.Is(err, boom) || stopped != 1 {
		t.Errorf("serve fails: %v, stopped %d times; want a ServerError and 1", err, stopped)
	}
}

// A start that fails stops nothing that has not been started.
func TestServiceNeverServed(t *testing.T) {
	app := pid1.App{Logger: discard}
	app.Before("fails", func(context.Context) error { return errors.New("boom") })
	called := false
	touch := func() error { called = true; return nil }
	err := app.Run(t.Context(), pid1.Service(touch, func(context.Context) error { return touch() }))
	if err == nil || called {
		t.Errorf("Run: %v, called: %v; want an error and false", err, called)
	}
}

// One that is stopped before it is called never serves: nobody would stop it.
func TestServiceStoppedFirst(t *testing.T) {
	s := pid1.Service(func() error { return errors.New("serves") }, func(context.Context) error { return errors.New("stops") })
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.ListenAndServe(); err != nil {
		t.Error(err)
	}
}

// One that hangs is named, with the stack of what hangs.
func TestServiceHangs(t *testing.T) {
	for name, hangs := range map[string]string{"in stop": "hangInStop", "in serve": "hangInServe"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			defer close(release)
			app := pid1.App{Shutdown: shutdown.Pipeline{Grace: time.Second}}
			up := make(chan struct{})
			s := run(t, &app, pid1.Service(func() error { close(up); hangInServe(release); return nil },
				func(context.Context) error {
					if name == "in stop" {
						hangInStop(release)
					}
					return nil
				}))
			<-up
			_, err := s.stop()
			if pid1.ExitCode(err) != 124 {
				t.Errorf("Run: %v, want exit code 124", err)
			}
			var stuck *shutdown.HookError
			if !errors.As(err, &stuck) || !strings.Contains(string(stuck.Stack), hangs) {
				t.Errorf("%v: want the stack of %s", err, hangs)
			}
		})
	}
}

func hangInStop(release <-chan struct{})  { <-release }
func hangInServe(release <-chan struct{}) { <-release }

// A forced stop that did not get as far calls stop with a context that has ended.
func TestServiceForced(t *testing.T) {
	release := make(chan struct{})
	stopped := make(chan error, 1)
	var up sync.WaitGroup
	up.Add(2)
	var app pid1.App
	app.Shutdown.Grace = time.Minute
	s := run(t, &app, pid1.InOrder(
		pid1.Service(func() error { up.Done(); <-release; return nil },
			func(ctx context.Context) error { stopped <- ctx.Err(); close(release); return nil }),
		pid1.Named("hangs", pid1.Func(func(context.Context) error { up.Done(); <-release; return nil }))))
	up.Wait()
	syscall.Kill(syscall.Getpid(), syscall.SIGTERM)
	<-app.Stopping()
	enough := tellAgain(func() { syscall.Kill(syscall.Getpid(), syscall.SIGTERM) })
	err := <-s.done
	enough()
	if !errors.Is(err, pid1.ErrForced) || flat(s.report().Steps) != "hangs=stuck service=skipped" {
		t.Errorf("Run: %v, report %q; want ErrForced, service skipped", err, flat(s.report().Steps))
	}
	if err := <-stopped; err == nil {
		t.Error("stop has a context that goes on")
	}
}
