// SPDX-License-Identifier: MIT

//go:build unix

package pid1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

func init() { helpers["hostile"] = hostileMain }

// A blockingError is an error whose text never comes.
type blockingError struct{}

func (blockingError) Error() string { select {} }

// A panickingError is an error that errors.Is must not touch.
type panickingError struct{}

func (panickingError) Error() string    { return "panicking error" }
func (panickingError) Is(error) bool    { panic("Is of a user's error") }
func sleepUntil(ctx context.Context)    { <-ctx.Done() }
func hangForever(context.Context) error { select {} }

// A closer is a Server whose Shutdown and Close hang.
type closer struct{}

func (closer) ListenAndServe() error          { select {} }
func (closer) Shutdown(context.Context) error { select {} }
func (closer) Close() error                   { select {} }

// A service is a Server of a type of its own that hangs, and whose Shutdown does not.
type service struct{}

func (service) ListenAndServe() error              { return hangForever(context.Background()) }
func (service) Shutdown(ctx context.Context) error { <-ctx.Done(); return errors.New("still busy") }

// requested makes a request of a server, when that serves.
func requested(srv *http.Server) *http.Server {
	addr := make(chan net.Addr, 1)
	srv.Addr, srv.BaseContext = "127.0.0.1:0", tell(addr)
	go func() { http.Get("http://" + (<-addr).String()) }()
	return srv
}

// hostileMain is an App in a world that wishes it ill. The scenario is its
// argument. It writes what happens to descriptor 3.
func hostileMain() int {
	results := os.NewFile(3, "results")
	say := func(line string) { results.WriteString(line + "\n") }
	ctx := context.Background()
	var app pid1.App
	app.Delay = -1
	app.Shutdown.Grace = 5 * time.Second
	app.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	app.OnReport = func(r *shutdown.Report) {
		if !strings.HasSuffix(os.Args[1], "error blocks") {
			say("cause " + fmt.Sprint(r.Cause))
		}
	}
	hookTakes := time.Duration(0)
	var run func(context.Context) error
	job := false
	var more []pid1.Server

	switch scenario := os.Args[1]; scenario {
	case "quick":
	case "slow":
		hookTakes = 300 * time.Millisecond
	case "slower":
		hookTakes = 2 * time.Second
	case "notify":
		hookTakes = 100 * time.Millisecond
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGTERM)
		defer stop()
	case "worker first":
		hookTakes = 300 * time.Millisecond
		run = func(context.Context) error { return nil }
	case "context first":
		hookTakes = 300 * time.Millisecond
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		run = func(ctx context.Context) error { cancel(); sleepUntil(ctx); return nil }
	case "error blocks":
		app.Shutdown.Grace = 2 * time.Second
		app.Shutdown.Defer("error", func(context.Context) error { return blockingError{} })
	case "server error blocks":
		run = func(context.Context) error { return blockingError{} }
	case "before error blocks":
		app.Before("blocks", func(context.Context) error { return blockingError{} })
	case "error panics":
		run = func(ctx context.Context) error { sleepUntil(ctx); return panickingError{} }
	case "report hangs":
		app.Shutdown.Grace = 2 * time.Second
		app.OnReport = func(*shutdown.Report) { say("cause hangs"); select {} }
	case "report panics":
		app.OnReport = func(*shutdown.Report) { say("cause panics"); panic("in OnReport") }
	case "close hangs":
		more = append(more, closer{})
	case "worker panics":
		run = func(context.Context) error { panic("in a worker") }
	case "before panics":
		app.Before("panics", func(context.Context) error { panic("in Before") })
	case "hangup panics":
		app.OnHangup = func(context.Context) error { panic("in OnHangup") }
	case "before deadline":
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		app.Before("waits", func(ctx context.Context) error { sleepUntil(ctx); return ctx.Err() })
	case "before command":
		app.Before("command", func(ctx context.Context) error {
			say("serving")
			return exec.CommandContext(ctx, "sleep", "60").Run()
		})
	case "before hangs":
		app.Shutdown.Grace = 2 * time.Second
		app.Before("hangs", func(ctx context.Context) error { say("serving"); return hangForever(ctx) })
	case "worker command":
		run = func(ctx context.Context) error {
			cmd := exec.CommandContext(ctx, "sleep", "60")
			if err := cmd.Start(); err != nil {
				return err
			}
			say("started")
			return cmd.Wait()
		}
	case "worker hangs":
		app.Shutdown.Grace = 2 * time.Second
		run = hangForever
	case "request hangs":
		app.Shutdown.Grace = 2 * time.Second
		more = append(more, requested(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			say("requested")
			hangForever(r.Context())
		})}))
	case "ConnState hangs", "ConnState panics":
		app.Shutdown.Grace = 2 * time.Second
		more = append(more, requested(&http.Server{ConnState: func(_ net.Conn, state http.ConnState) {
			if state != http.StateIdle {
				return
			}
			say("requested")
			if scenario == "ConnState panics" {
				panic("in ConnState")
			}
			select {}
		}}))
	case "OnShutdown hangs":
		app.Shutdown.Grace = 2 * time.Second
		srv := &http.Server{ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateIdle {
				say("requested")
			}
		}}
		srv.RegisterOnShutdown(func() { select {} })
		more = append(more, requested(srv))
	case "log panics", "log blocks":
		app.Logger = slog.New(brokenHandler{slog.NewTextHandler(io.Discard, nil), strings.TrimPrefix(scenario, "log ")})
		app.OnReport = func(r *shutdown.Report) {
			if r.Unlogged > 0 {
				say("cause unlogged")
			}
		}
	case "hook defers":
		app.Shutdown.Defer("overruns", func(ctx context.Context) error {
			app.Shutdown.Defer("added", func(ctx context.Context) error {
				if end, _ := ctx.Deadline(); time.Until(end) > 100*time.Millisecond { // of 250
					say("cause added")
				}
				return nil
			})
			return hangForever(ctx)
		})
	case "hooks in Before":
		app.Shutdown.Grace, app.Delay = 0, 0
		app.Before("hooks", func(context.Context) error {
			for range 40 {
				app.Shutdown.Defer("instant", func(context.Context) error { return nil })
			}
			return nil
		})
	case "service hangs":
		app.Shutdown.Grace = 2 * time.Second
		more = append(more, service{})
	case "job done":
		job, run = true, func(context.Context) error { return nil }
		more = append(more, pid1.Job(func(context.Context) error { return nil }), pid1.Func(worker))
	case "job interrupted":
		job, run = true, func(ctx context.Context) error { sleepUntil(ctx); return nil }
		more = append(more, pid1.Job(func(context.Context) error { return nil }), pid1.Func(worker))
	case "job fails":
		job, run = true, func(context.Context) error { return errors.New("no such table") }
	case "job before":
		job, run = true, func(context.Context) error { return nil }
		app.Before("waits", func(ctx context.Context) error { say("serving"); sleepUntil(ctx); return nil })
	case "many hooks":
		app.Shutdown.Grace, app.Delay = 0, 0
		for range 40 {
			app.Shutdown.Defer("instant", func(context.Context) error { return nil })
		}
	default:
		panic(scenario)
	}

	app.Shutdown.Defer("last", func(context.Context) error { say("hook last"); return nil })
	app.Shutdown.Defer("first", func(ctx context.Context) error {
		say("hook first")
		select {
		case <-time.After(hookTakes):
		case <-ctx.Done():
		}
		return nil
	})
	if run == nil {
		run = worker
	}
	f := func(ctx context.Context) error { say("serving"); return run(ctx) }
	srv := pid1.Func(f)
	if job {
		srv = pid1.Job(f)
	}
	err := app.Run(ctx, append([]pid1.Server{srv}, more...)...)
	say("returned")
	return pid1.ExitCode(err)
}

// at is a signal that is sent when the process has said a line, after a pause.
type at struct {
	line  string
	pause time.Duration
	sig   syscall.Signal
}

const (
	again = -1 // no pause: the signal is the last one, and sent until it counts

	term = syscall.SIGTERM
	intr = syscall.SIGINT
	hup  = syscall.SIGHUP
)

// TestHostile: the stop of processes that are told it twice, whose log is dead and
// whose functions hang or panic, as PID 1 and not.
func TestHostile(t *testing.T) {
	t.Parallel()
	tests := []struct {
		scenario string
		log      string // "": read; gone, full
		env      string
		signals  []at
		code     int
		cause    string // of the report, if it says one
		says     string // in the log
		timed    bool   // a machine that stalls between the signals sees something else
	}{
		{scenario: "slow", signals: []at{{"serving", 0, term}, {"", time.Millisecond, term}}, cause: "received SIGTERM", timed: true},
		{scenario: "slow", signals: []at{{"serving", 0, intr}, {"", 50 * time.Millisecond, intr}}, cause: "received SIGINT", timed: true},
		{scenario: "slower", signals: []at{{"serving", 0, term}, {"hook first", again, term}}, code: 143, timed: true},
		{scenario: "slower", env: "KUBERNETES_SERVICE_HOST=10.0.0.1", signals: []at{{"serving", 0, term}, {"hook first", again, term}}},
		{scenario: "slower", env: "KUBERNETES_SERVICE_HOST=10.0.0.1", signals: []at{{"serving", 0, term}, {"hook first", again, intr}}, code: 130, timed: true},
		{scenario: "notify", signals: []at{{"serving", 0, term}}, cause: "received SIGTERM", timed: true},
		{scenario: "worker first", signals: []at{{"hook first", 0, term}}},
		{scenario: "context first", signals: []at{{"hook first", 0, term}}, cause: "received SIGTERM", timed: true},
		{scenario: "quick", log: "gone", signals: []at{{"serving", 0, hup}, {"", 0, term}}},
		{scenario: "quick", log: "full", signals: []at{{"serving", 0, hup}, {"", 5 * time.Millisecond, term}}, timed: true},
		{scenario: "error blocks", signals: []at{{"serving", 0, term}}, code: 124},
		{scenario: "server error blocks", code: 1},
		{scenario: "server error blocks", env: "NOTIFY_SOCKET=/no/such/socket", code: 1},
		{scenario: "before error blocks", code: 1},
		{scenario: "error panics", signals: []at{{"serving", 0, term}}, code: 2},
		{scenario: "report hangs", signals: []at{{"serving", 0, term}}, code: 124, says: "OnReport did not return within"},
		{scenario: "report panics", signals: []at{{"serving", 0, term}}, code: 2, says: "in OnReport"},
		{scenario: "close hangs", signals: []at{{"serving", 0, term}, {"", again, term}}, code: 143},
		{scenario: "worker panics", code: 2, says: "hostileMain"},
		{scenario: "before panics", code: 2, says: "in Before"},
		{scenario: "hangup panics", signals: []at{{"serving", 0, hup}}, code: 2, says: "in OnHangup"},
		{scenario: "before deadline"},
		{scenario: "before command", signals: []at{{"serving", 0, term}}},
		{scenario: "before hangs", signals: []at{{"serving", 0, term}}, code: 124, says: "hangForever"},
		{scenario: "worker command", signals: []at{{"started", 0, term}}, code: 1, says: "signal: killed"},
		{scenario: "worker hangs", signals: []at{{"serving", 0, term}}, code: 124, says: "hangForever"},
		{scenario: "request hangs", signals: []at{{"requested", 0, term}}, code: 124, says: "state=stuck … GET / ( … hangForever"},
		{scenario: "service hangs", signals: []at{{"serving", 0, term}}, code: 124, says: "state=stuck … hangForever"},
		{scenario: "ConnState hangs", signals: []at{{"requested", 0, term}}, code: 124, says: "state=stuck … pid1_test.hostileMain.func"},
		{scenario: "ConnState panics", signals: []at{{"requested", 0, term}}},
		{scenario: "OnShutdown hangs", signals: []at{{"requested", 0, term}}},
		{scenario: "log panics", signals: []at{{"serving", 0, hup}, {"", 0, term}}, cause: "unlogged"},
		{scenario: "log blocks", signals: []at{{"serving", 0, hup}, {"", 0, term}}, cause: "unlogged"},
		{scenario: "hook defers", signals: []at{{"serving", 0, term}}, code: 124, cause: "added", says: "hangForever"},
		{scenario: "hooks in Before", signals: []at{{"serving", 0, term}}, says: "lowered from"},
		{scenario: "job done", cause: "all jobs are done"},
		{scenario: "job interrupted", signals: []at{{"serving", 20 * time.Millisecond, term}}, code: 143, says: "interrupted"},
		{scenario: "job fails", code: 1, says: "no such table"},
		{scenario: "job before", signals: []at{{"serving", 0, term}}, code: 143},
		{scenario: "many hooks", signals: []at{{"serving", 0, term}}, says: "lowered from"},
		{scenario: "many hooks", env: "KUBERNETES_SERVICE_HOST=10.0.0.1", signals: []at{{"serving", 0, term}}},
		{scenario: "many hooks", env: "SHUTDOWN_GRACE=5", signals: []at{{"serving", 0, term}}, says: "from $SHUTDOWN_GRACE"},
	}
	for _, test := range tests {
		for _, who := range []string{"PID 1", "child"} {
			if who == "child" && testing.Short() {
				continue
			}
			t.Run(strings.Join([]string{test.scenario, test.log, test.env, who}, ","), func(t *testing.T) {
				t.Parallel()
				start := nstest.Child
				if who == "PID 1" {
					start = nstest.Command
				}
				var cmd *exec.Cmd
				var said []string
				var log string
				var asWanted bool
				stalled := stalls(t)
				for range 3 {
					cmd = start(t, "hostile", test.scenario)
					if test.env != "" {
						cmd.Env = append(cmd.Env, test.env)
					}
					said, log = hostile(t, cmd, test.log, test.signals)
					asWanted = cmd.ProcessState.ExitCode() == test.code && (test.cause == "" || slices.Contains(said, "cause "+test.cause))
					if !test.timed || asWanted {
						break
					}
				}
				if test.timed && !asWanted {
					skipIfStalled(t, stalled(), fmt.Errorf("it said %q", said))
				}
				if got := cmd.ProcessState.ExitCode(); got != test.code {
					t.Errorf("exit code %d, want %d; it said %q; log:\n%s", got, test.code, said, log)
				}
				forced := test.code == 143 && !strings.HasPrefix(test.scenario, "job") || test.code == 130
				if !slices.Contains(said, "returned") || !forced && !slices.Contains(said, "hook last") {
					t.Errorf("it said %q, want hooks and a return; log:\n%s", said, log)
				}
				if test.cause != "" && !slices.Contains(said, "cause "+test.cause) {
					t.Errorf("it said %q, want the cause %q", said, test.cause)
				}
				for says := range strings.SplitSeq(test.says, " … ") {
					if !strings.Contains(log, says) {
						t.Errorf("the log does not say %q:\n%s", says, log)
					}
				}
			})
		}
	}
}

// hostile runs cmd, sends the signals, and returns what it said and its log.
func hostile(t *testing.T, cmd *exec.Cmd, stderr string, signals []at) (said []string, log string) {
	results, resultsEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer results.Close()
	cmd.ExtraFiles = []*os.File{resultsEnd}
	logOut, logIn := life{stderr: stderr}.log()
	cmd.Stderr = logIn
	err = cmd.Start()
	resultsEnd.Close()
	logIn.Close()
	if err != nil {
		t.Fatal(err)
	}
	text := make(chan string, 1)
	if stderr == "" {
		go func() {
			b, _ := io.ReadAll(logOut)
			logOut.Close()
			text <- string(b)
		}()
	} else {
		text <- ""
		if logOut != nil {
			defer logOut.Close()
		}
	}

	lines := bufio.NewScanner(io.TeeReader(results, &bytes.Buffer{}))
	for _, s := range signals {
		for s.line != "" && !slices.Contains(said, s.line) && lines.Scan() {
			said = append(said, lines.Text())
		}
		if s.pause == again {
			defer tellAgain(func() { cmd.Process.Signal(s.sig) })()
			break
		}
		time.Sleep(s.pause)
		cmd.Process.Signal(s.sig)
	}
	for lines.Scan() {
		said = append(said, lines.Text())
	}
	cmd.Wait()
	return said, <-text
}
