// SPDX-License-Identifier: MIT

//go:build linux

// Init runs another program as the init process of a container: tini's command
// line, on the library. It is for images whose program is not written in Go.
//
//	ENTRYPOINT ["/init", "--"]
//	CMD ["node", "server.js"]
package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/reaper"
	"github.com/entrypoint-go/entrypoint/shutdown"
	"golang.org/x/sys/unix"
)

//go:embed usage.txt
var usage string

// An initProcess is what the command line and the environment ask for.
type initProcess struct {
	app       pid1.App
	child     pid1.Child
	success   [256]bool // statuses that become 0
	verbosity int       // as tini's: 1 by default
}

func main() {
	p := initProcess{verbosity: 1}
	switch err := p.parse(expand(os.Args[1:])); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(usage)
		return
	case err != nil:
		fmt.Fprintf(os.Stderr, "init: %v\n\n%s", err, usage)
		os.Exit(1)
	}
	if err := p.app.Run(context.Background(), &p.child); p.child.Cmd.ProcessState == nil {
		warn("%v", err)
	}
	// The program's status, however the end of the other processes went.
	status := p.child.ExitCode()
	if p.success[status] {
		status = 0
	}
	os.Exit(status)
}

func (p *initProcess) parse(args []string) error {
	if value, ok := os.LookupEnv("TINI_VERBOSITY"); ok {
		p.verbosity, _ = strconv.Atoi(value)
	}
	// SIGPIPE is passed on only if asked for, because a program that uses the
	// network raises it. This one does not.
	p.child.Rewrite = map[os.Signal]os.Signal{syscall.SIGPIPE: syscall.SIGPIPE}

	fs := flag.NewFlagSet("init", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	_, subreaper := os.LookupEnv("TINI_SUBREAPER")
	fs.BoolVar(&subreaper, "s", subreaper, "")
	_, group := os.LookupEnv("TINI_KILL_PROCESS_GROUP")
	fs.BoolVar(&group, "g", group, "")
	report := fs.Bool("w", false, "")
	wait := fs.Duration("t", 0, "")
	license, version := fs.Bool("l", false, ""), fs.Bool("version", false, "")
	fs.BoolFunc("v", "", func(string) error { p.verbosity++; return nil })
	fs.Func("p", "", watchParent)
	fs.Func("r", "", p.rewrite)
	fs.Func("e", "", func(value string) error {
		status, err := strconv.ParseUint(value, 10, 8)
		p.success[status] = err == nil
		return err
	})
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *license || *version {
		usage = "init of github.com/entrypoint-go/entrypoint, MIT License\n"
		return flag.ErrHelp
	}
	if fs.NArg() == 0 {
		return errors.New("which program?")
	}

	p.child.Cmd = exec.Command(fs.Arg(0), fs.Args()[1:]...)
	p.child.Cmd.Stdin, p.child.Cmd.Stdout, p.child.Cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	p.child.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: group}
	if *report {
		p.app.Reaper.OnReap = func(e reaper.Exit) { warn("reaped zombie process with pid=%d", e.PID) }
	}
	p.configure(subreaper, *wait)
	return nil
}

func (p *initProcess) configure(subreaper bool, wait time.Duration) {
	p.app.Signals = []os.Signal{} // none is ours: the program gets all
	p.app.OnReport = func(*shutdown.Report) {}

	// An App logs the program's status as an error, which nobody has asked for
	// at tini's verbosity of 1. 2 is the level Info, 3 is Debug.
	level := slog.LevelError + 1
	if p.verbosity > 1 {
		level = slog.Level(8 - 4*p.verbosity)
	}
	p.app.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))

	// PID 1 has the orphans without asking, and ends what is left.
	p.app.Shutdown.Grace = cmp.Or(wait, time.Millisecond)
	p.app.Shutdown.Reserve = p.app.Shutdown.Grace / 100 // no hook of ours takes long
	if pid1.IsInit() {
		return
	}
	p.app.Reaper.Subreaper = subreaper || pid1.Inspect().Subreaper
	if !p.app.Reaper.Subreaper && p.verbosity > 0 {
		warn("neither PID 1 nor a subreaper: zombies will not be collected; use -s or set TINI_SUBREAPER")
	}
	if wait > 0 {
		// Nobody else kills what is left, so keep the time to do that.
		p.app.Shutdown.DeferLast("processes", shutdown.Within(wait*3/4, reaper.Terminate))
	}
}

// rewrite is -r FROM:TO.
func (p *initProcess) rewrite(value string) error {
	from, to, _ := strings.Cut(value, ":")
	sig, err := parseSignal(from)
	if err != nil {
		return err
	}
	p.child.Rewrite[sig] = nil
	if to != "0" {
		p.child.Rewrite[sig], err = parseSignal(to)
	}
	return err
}

// watchParent is -p SIGNAL.
func watchParent(value string) error {
	sig, err := parseSignal(value)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the attribute belongs to the thread, so this one has to stay
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(sig), 0, 0, 0)
}

// synonyms are the names in signal(7) that package unix does not have.
var synonyms = map[string]syscall.Signal{
	"SIGCLD": syscall.SIGCHLD, "SIGIOT": syscall.SIGABRT, "SIGPOLL": syscall.SIGIO, "SIGUNUSED": syscall.SIGSYS,
}

// The real-time signals as the C library counts them.
const rtMin, rtMax = 34, 64

// parseSignal returns the signal that s names: SIGTERM, TERM, term, 15, RTMIN+3 or
// SIGRTMAX-2. Signals 32 to 34 are the C library's: Go never delivers them.
func parseSignal(s string) (syscall.Signal, error) {
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	number, err := strconv.Atoi(s)
	if err != nil {
		number = int(cmp.Or(unix.SignalNum(name), synonyms[name], realTime(name)))
	}
	switch {
	case number >= 32 && number <= 34:
		return 0, fmt.Errorf("signal %s belongs to the C library: real-time signals are 35 to 64, RTMIN+1 to RTMAX", s)
	case number < 1 || number > rtMax:
		return 0, fmt.Errorf("no signal is called %q: want a name such as SIGTERM or RTMIN+1, or a number from 1 to 64", s)
	}
	return syscall.Signal(number), nil
}

// realTime returns the signal called SIGRTMIN, SIGRTMAX, SIGRTMIN+n or SIGRTMAX-n,
// or 0.
func realTime(name string) syscall.Signal {
	base := rtMin
	offset, ok := strings.CutPrefix(name, "SIGRTMIN")
	sign := "+"
	if !ok {
		if offset, ok = strings.CutPrefix(name, "SIGRTMAX"); !ok {
			return 0
		}
		base, sign = rtMax, "-"
	}
	if offset == "" {
		return syscall.Signal(base)
	}
	n, err := strconv.Atoi(offset)
	if err != nil || !strings.HasPrefix(offset, sign) || base+n < rtMin || base+n > rtMax {
		return 0
	}
	return syscall.Signal(base + n)
}

// expand writes out what getopt(3) allows: -vg is -v -g, and -e1 is -e 1.
func expand(args []string) []string {
	for i := 0; i < len(args) && len(args[i]) > 1 && args[i][0] == '-' && args[i][1] != '-'; i++ {
		option, rest := args[i][:2], args[i][2:]
		value := strings.Contains("-e -p -r -t", option)
		if rest != "" && !value {
			rest = "-" + rest
		}
		if rest != "" {
			args = slices.Concat(args[:i], []string{option, rest}, args[i+1:])
		}
		if value {
			i++
		}
	}
	return args
}

func warn(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "init: "+format+"\n", args...)
}
