// SPDX-License-Identifier: MIT

//go:build unix

package pid1_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

var (
	lives    = flag.Int("lives", 0, "processes that TestLives starts")
	liveSeed = flag.Uint64("lives.seed", 0, "the one process to start, by the seed that a failure showed")
)

func init() { helpers["life"] = lifeMain }

// A brokenHandler is the handler of a log that fails as told.
type brokenHandler struct {
	slog.Handler
	how string
}

func (h brokenHandler) Handle(ctx context.Context, r slog.Record) error {
	switch h.how {
	case "panics":
		panic("broken log")
	case "blocks":
		select {}
	}
	return h.Handler.Handle(ctx, r)
}

// lifeMain is an App that reports to descriptor 3 what happens to it.
func lifeMain() int {
	ctxKind := flag.String("ctx", "background", "background, notify (signal.NotifyContext) or ends")
	after := flag.Duration("after", 0, "when ctx or the worker ends")
	worker := flag.String("worker", "stays", "stays, returns, fails or panics")
	log := flag.String("log", "works", "works, panics or blocks")
	hook := flag.Duration("hook", 0, "how long the first hook takes")
	var app pid1.App
	flag.DurationVar(&app.Delay, "delay", -1, "App.Delay")
	flag.Parse()

	results := os.NewFile(3, "results")
	say := func(line string) { results.WriteString(line + "\n") }
	app.Logger = slog.New(brokenHandler{slog.NewTextHandler(os.Stderr, nil), *log})
	app.Shutdown.Grace = lifeGrace
	app.OnHangup = func(context.Context) error { return nil }
	app.OnReport = func(*shutdown.Report) { say("report") }
	app.Before("armed", func(context.Context) error { say("armed"); return nil })
	app.Shutdown.Defer("b", func(context.Context) error { say("hook-b"); return nil })
	app.Shutdown.Defer("a", func(ctx context.Context) error {
		say("hook-a")
		select {
		case <-time.After(*hook):
		case <-ctx.Done():
		}
		return nil
	})

	ctx := context.Background()
	switch *ctxKind {
	case "notify":
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
		defer stop()
	case "ends":
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *after)
		defer cancel()
	}
	err := app.Run(ctx, &http.Server{Addr: "127.0.0.1:0"}, pid1.Func(func(ctx context.Context) error {
		if *worker != "stays" {
			select {
			case <-time.After(*after):
			case <-ctx.Done():
				return nil
			}
		}
		switch *worker {
		case "stays":
			<-ctx.Done()
		case "fails":
			return errors.New("worker failed")
		case "panics":
			panic("worker panicked")
		}
		return nil
	}))
	say("returned")
	return pid1.ExitCode(err)
}

const lifeGrace = 5 * time.Second

// A life is a plan for one process, drawn by its seed.
type life struct {
	seed    uint64
	init    bool // as PID 1
	early   bool // signals from before Run on
	args    []string
	stderr  string // read, gone, full
	signals []syscall.Signal
	gaps    []time.Duration // before each signal
	allowed []int
	forces  bool // a signal may force the stop: then hooks may be skipped
}

func drawLife(seed uint64) life {
	r := rand.New(rand.NewPCG(seed, 1))
	pick := func(choices ...string) string { return choices[r.IntN(len(choices))] }
	soon := func() time.Duration { return time.Duration(r.Int64N(int64(4 * time.Millisecond))) }

	l := life{seed: seed, init: r.IntN(2) == 0, early: r.IntN(5) == 0, stderr: pick("read", "read", "gone", "full"), allowed: []int{0}}
	ctx, worker := pick("background", "notify", "notify", "ends"), pick("stays", "stays", "returns", "fails", "panics")
	l.args = []string{"-ctx=" + ctx, "-worker=" + worker, "-log=" + pick("works", "works", "panics", "blocks"), "-after=" + soon().String()}
	switch worker {
	case "fails":
		l.allowed = append(l.allowed, 1)
	case "panics":
		l.allowed = append(l.allowed, 2)
	}
	if r.IntN(3) == 0 {
		l.args = append(l.args, "-delay="+(20*time.Millisecond).String())
	}

	// At least one signal, so that each life ends; told twice, in half of them.
	stop := []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}[r.IntN(2)]
	for range r.IntN(3) {
		l.signals, l.gaps = append(l.signals, syscall.SIGHUP), append(l.gaps, soon())
	}
	l.signals, l.gaps = append(l.signals, stop), append(l.gaps, soon())
	for range r.IntN(3) {
		l.signals, l.gaps = append(l.signals, stop), append(l.gaps, soon())
	}
	if r.IntN(6) == 0 && !l.early {
		l.forces = true
		l.args = append(l.args, "-hook=2s")
		second := []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}[r.IntN(2)]
		l.signals, l.gaps = append(l.signals, second), append(l.gaps, 1200*time.Millisecond+soon())
		l.allowed = append(l.allowed, 128+int(second))
	}
	return l
}

// TestLives: whatever happens at whatever moment, the hooks run once, the process
// ends inside the grace, and its exit code is one of those that are documented
// for what happened.
func TestLives(t *testing.T) {
	t.Parallel()
	nstest.Command(t, "life") // skips the test where there are no namespaces
	seeds := make(chan uint64)
	go func() {
		defer close(seeds)
		if *liveSeed != 0 {
			seeds <- *liveSeed
			return
		}
		if *lives == 0 {
			*lives = nstest.Rounds(10, 30, 60)
		}
		for range *lives {
			seeds <- rand.Uint64()
		}
	}()
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for seed := range seeds {
				drawLife(seed).live(t)
			}
		})
	}
	wg.Wait()
}

func (l life) live(t *testing.T) {
	logged := make(chan string, 1) // what it has logged, once it has ended
	fail := func(format string, args ...any) {
		t.Errorf("-lives.seed=%d: %+v: %s\n%s", l.seed, l, fmt.Sprintf(format, args...), <-logged)
	}
	start := nstest.Child
	if l.init {
		start = nstest.Command
	}
	cmd := start(t, "life", l.args...)
	results, resultsEnd, err := os.Pipe()
	if err != nil {
		t.Error(err)
		return
	}
	defer results.Close()
	cmd.ExtraFiles = []*os.File{resultsEnd}
	log, logEnd := l.log()
	if log != nil {
		defer log.Close()
	}
	cmd.Stderr = logEnd
	err = cmd.Start()
	resultsEnd.Close()
	logEnd.Close()
	if err != nil {
		t.Error(err)
		return
	}
	if l.stderr == "read" {
		go func() {
			text, _ := io.ReadAll(log)
			logged <- string(text)
			close(logged)
		}()
	} else {
		close(logged)
	}

	lines := bufio.NewReader(results)
	var said []string
	if !l.early {
		line, _ := lines.ReadString('\n')
		said = append(said, strings.TrimSpace(line))
	}
	began, stalled := time.Now(), stalls(t)
	var told time.Time // the stop, for the first time
	for i, sig := range l.signals {
		time.Sleep(l.gaps[i])
		if told.IsZero() && sig != syscall.SIGHUP {
			told = time.Now()
		}
		cmd.Process.Signal(sig)
		if l.gaps[i] < toldTwice {
			l.sentAgain(told)
		}
	}
	if l.early { // the kernel drops what reaches a PID 1 without a handler
		line, err := lines.ReadString('\n')
		said = append(said, strings.TrimSpace(line))
		if err == nil {
			cmd.Process.Signal(l.signals[len(l.signals)-1])
			l.sentAgain(told)
		}
	}
	rest, _ := io.ReadAll(lines)
	said = append(said, strings.Fields(string(rest))...)
	err = cmd.Wait()
	l.judge(cmd, err, said, time.Since(began)-stalled(), fail)
}

// toldTwice is how long after a signal another one is certainly the same stop told again.
const toldTwice = 400 * time.Millisecond

// sentAgain is called when the stop has been told again. On a machine that stalls it may
// be too late to be the same stop.
func (l *life) sentAgain(told time.Time) {
	if !told.IsZero() && time.Since(told) > toldTwice {
		l.forces, l.allowed = true, append(l.allowed, 128+int(syscall.SIGTERM), 128+int(syscall.SIGINT))
	}
}

// log returns a pipe for standard error, in the state that the life wants.
func (l life) log() (read, write *os.File) {
	read, write, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	switch l.stderr {
	case "gone":
		read.Close()
		return nil, write
	case "full":
		fd := int(write.Fd()) // sets it to blocking
		syscall.SetNonblock(fd, true)
		for err == nil {
			_, err = syscall.Write(fd, make([]byte, 4096))
		}
		syscall.SetNonblock(fd, false)
	}
	return read, write
}

func (l life) judge(cmd *exec.Cmd, err error, said []string, took time.Duration, fail func(string, ...any)) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fail("%v", err)
		return
	}
	code := cmd.ProcessState.ExitCode()
	if l.early && !slices.Contains(said, "report") && (code == 2 || code == -1) {
		return // a signal before Run: Go's own answer, which takes a moment
	}
	if !slices.Contains(l.allowed, code) {
		fail("exit code %d, want one of %v; it said %q", code, l.allowed, said)
	}
	if took > lifeGrace {
		fail("ended after %v, grace %v", took, lifeGrace)
	}
	hooks := slices.DeleteFunc(slices.Clone(said), func(s string) bool { return !strings.HasPrefix(s, "hook-") })
	all := []string{"hook-a", "hook-b"}
	if !slices.Equal(hooks, all) && !(l.forces && code > 128 && len(hooks) < 2 && slices.Equal(hooks, all[:len(hooks)])) {
		fail("hooks %q, want %q; exit code %d", hooks, all, code)
	}
	for _, want := range []string{"report", "returned"} {
		if !slices.Contains(said, want) {
			fail("never said %q, but %q; exit code %d", want, said, code)
		}
	}
}
