// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	reap "github.com/hashicorp/go-reap"
	ramr "github.com/ramr/go-reaper"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
	"github.com/entrypoint-go/entrypoint/reaper"
)

// A subject is one way to have orphans collected: in the program itself, which
// then is PID 1, or by an init above it.
type subject struct {
	name  string
	start func()        // begin to collect, in this process; nil: do not
	lock  *sync.RWMutex // to be held around exec.Cmd
	above []string      // the init and its arguments
}

// The names of the subjects.
const (
	none        = "no reaper"
	ours        = "this library"
	ramrReaper  = "ramr/go-reaper"
	goReap      = "hashicorp/go-reap"
	goReapLock  = "hashicorp/go-reap with its lock"
	naive       = "wait4(-1) on SIGCHLD"
	tini        = "tini"
	dumbInit    = "dumb-init"
	catatonit   = "catatonit"
	goReapPath  = "github.com/hashicorp/go-reap"
	ramrReaPath = "github.com/ramr/go-reaper"
)

// collectors are what is compared as PID 1. The lock of go-reap is for programs
// that run commands: in the measurements with orphans alone nothing takes it.
var collectors = []string{ours, naive, ramrReaper, goReap, tini, dumbInit, catatonit}

// inProcess are those that share the process with the program's own commands.
var inProcess = []string{ours, naive, ramrReaper, goReap, goReapLock}

var subjects = map[string]*subject{
	none:       {name: none},
	ours:       {name: ours, start: startOurs},
	naive:      {name: naive, start: func() { go waitForAny() }},
	ramrReaper: {name: ramrReaper, start: ramr.Reap},
	goReap:     {name: goReap, start: func() { go reap.ReapChildren(nil, nil, nil, nil) }},
	goReapLock: {name: goReapLock, start: func() { go reap.ReapChildren(nil, nil, nil, &reapLock) }, lock: &reapLock},
	tini:       {name: tini, above: []string{"tini", "--"}},
	dumbInit:   {name: dumbInit, above: []string{"dumb-init"}},
	catatonit:  {name: catatonit, above: []string{"catatonit", "--"}},
}

var reapLock sync.RWMutex

func startOurs() {
	r := &reaper.Reaper{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	go func() {
		if err := r.Run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "reaper:", err)
			os.Exit(1)
		}
	}()
}

// waitForAny is the reaper that everybody writes first.
func waitForAny() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGCHLD)
	for range c {
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 && err != syscall.EINTR {
				break
			}
		}
	}
}

func title(name string) string { return subjects[name].title() }

// title is the name with the version.
func (s *subject) title() string {
	switch s.name {
	case ramrReaper:
		return report.Module(ramrReaPath)
	case goReap:
		return report.Module(goReapPath)
	case goReapLock:
		return report.Module(goReapPath) + " with its lock"
	}
	if s.above == nil {
		return s.name
	}
	out, _ := exec.Command(s.above[0], "--version").CombinedOutput()
	for _, word := range strings.Fields(string(out)) {
		if v := strings.Trim(word, "v"); v != "" && v[0] >= '0' && v[0] <= '9' {
			return s.name + " " + v
		}
	}
	return s.name
}

// run runs cmd as a program with this subject has to.
func (s *subject) run(cmd *exec.Cmd) error {
	if s.lock != nil {
		s.lock.RLock()
		defer s.lock.RUnlock()
	}
	return cmd.Run()
}
