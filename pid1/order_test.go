// SPDX-License-Identifier: MIT

package pid1_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// A diary is what happened, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) want(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.lines, want) {
		t.Errorf("got %q, want %q", d.lines, want)
	}
}

// member is a Func that writes when it is told to stop and when it has stopped.
func (d *diary) member(name string) pid1.Server {
	return pid1.Named(name, pid1.Func(func(ctx context.Context) error {
		<-ctx.Done()
		d.write(name + " stops")
		d.write(name + " stopped")
		return nil
	}))
}

// flat lists the steps of a report: "servers(a b) c".
func flat(steps []shutdown.Step) string {
	var list []string
	for _, s := range steps {
		name := s.Name
		if s.State != shutdown.OK {
			name += "=" + s.State.String()
		}
		if s.Members != nil {
			name += "(" + flat(s.Members) + ")"
		}
		list = append(list, name)
	}
	return strings.Join(list, " ")
}

// The servers of an InOrder stop last to first, wherever it stands, and have their
// names in the report.
func TestInOrderStops(t *testing.T) {
	for _, test := range []struct{ name, report string }{
		{"alone", "c b a"},
		{"nested", "c b a"},
		{"beside", "servers(in order(c b a) other)"},
		{"named", "servers(chain(c b a) other)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var d diary
			a, b, c := d.member("a"), d.member("b"), d.member("c")
			servers := []pid1.Server{pid1.InOrder(a, b, c)}
			switch test.name {
			case "nested":
				servers[0] = pid1.InOrder(pid1.InOrder(a), pid1.Named("inner", pid1.InOrder(b, c)))
			case "beside":
				servers = append(servers, pid1.Named("other", pid1.Func(worker)))
			case "named":
				servers = []pid1.Server{pid1.Named("chain", servers[0]), pid1.Named("other", pid1.Func(worker))}
			}
			ctx, cancel := context.WithCancel(t.Context())
			app := pid1.App{Logger: discard}
			reports := reportOf(&app)
			app.Before("stop", func(context.Context) error { time.AfterFunc(0, func() { <-stopWhenReady(&app); cancel() }); return nil })
			if err := app.Run(ctx, servers...); err != nil {
				t.Error(err)
			}
			d.want(t, "c stops", "c stopped", "b stops", "b stopped", "a stops", "a stopped")
			if got := flat((<-reports).Steps); got != test.report {
				t.Errorf("report %q, want %q", got, test.report)
			}
		})
	}
}

// stopWhenReady returns a channel that is closed once the App is ready.
func stopWhenReady(app *pid1.App) <-chan struct{} {
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		for !app.Ready() {
			time.Sleep(time.Millisecond)
		}
	}()
	return ready
}

// A request in flight may hand work to the worker that stops after it.
func TestInOrderDrainsBeforeTheNext(t *testing.T) {
	work := make(chan chan string)
	consumer := pid1.Func(func(ctx context.Context) error {
		for {
			select {
			case answer := <-work:
				answer <- "done"
			case <-ctx.Done():
				return nil
			}
		}
	})
	var app pid1.App
	begun := make(chan struct{})
	addr := make(chan net.Addr, 1)
	srv := &http.Server{Addr: "127.0.0.1:0", BaseContext: tell(addr), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-app.Stopping()
		time.Sleep(20 * time.Millisecond) // the worker must not stop meanwhile
		answer := make(chan string)
		select {
		case work <- answer:
			fmt.Fprint(w, <-answer)
		case <-r.Context().Done():
			fmt.Fprint(w, "nobody works")
		}
	})}
	s := run(t, &app, pid1.InOrder(pid1.Named("consumer", consumer), srv))
	w := dial(t, (<-addr).String())
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-begun
	s.stopCleanly()
	if _, body := w.response(); body != "done" {
		t.Errorf("got %q, want done", body)
	}
}

// A member that hangs is Stuck, and the ones after it have their time.
func TestInOrderMemberHangs(t *testing.T) {
	slow(t)
	for _, beside := range []bool{false, true} {
		t.Run(fmt.Sprint("beside others: ", beside), func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			var left time.Duration
			patient := pid1.Named("patient", pid1.Func(func(ctx context.Context) error { <-ctx.Done(); return nil }))
			asked := &shutdownFunc{stop: func(ctx context.Context) error {
				end, _ := ctx.Deadline()
				left = time.Until(end)
				return nil
			}, done: make(chan struct{})}
			hangs := pid1.Named("hangs", pid1.Func(func(context.Context) error { <-release; return nil }))
			servers := []pid1.Server{pid1.InOrder(patient, pid1.Named("asked", asked), hangs)}
			if beside {
				servers = append(servers, pid1.Named("other", pid1.Func(worker)))
			}
			app := pid1.App{Logger: discard}
			app.Shutdown.Grace, app.Shutdown.Reserve = 8*time.Second, 2*time.Second
			reports := reportOf(&app)
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-stopWhenReady(&app); cancel() }()
			err := app.Run(ctx, servers...)
			close(release)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "hangs") {
				t.Errorf("Run: %v, want that hangs is stuck", err)
			}
			want := "hangs=stuck asked patient"
			if beside {
				want = "servers=stuck(in order=stuck(" + want + ") other)"
			}
			if got := flat((<-reports).Steps); got != want {
				t.Errorf("report %q, want %q", got, want)
			}
			if left < 100*time.Millisecond {
				t.Errorf("the next one had %v, want a Reserve of 2s", left)
			}
		})
	}
}

// A shutdownFunc is a Server of a type of its own.
type shutdownFunc struct {
	stop func(context.Context) error
	done chan struct{}
}

func (s *shutdownFunc) ListenAndServe() error { <-s.done; return nil }
func (s *shutdownFunc) Shutdown(ctx context.Context) error {
	defer close(s.done)
	return s.stop(ctx)
}

// The end of a member ends the App; the others stop in their order.
func TestInOrderMemberDies(t *testing.T) {
	boom := errors.New("boom")
	var d diary
	all := make(chan struct{})
	dies := pid1.Named("dies", pid1.Func(func(context.Context) error { <-all; return boom }))
	last := pid1.Func(func(ctx context.Context) error { close(all); return worker(ctx) })
	app := pid1.App{Logger: discard}
	err := app.Run(t.Context(), pid1.InOrder(d.member("a"), dies, d.member("c"), last))
	var ended *pid1.ServerError
	if !errors.As(err, &ended) || ended.Server != "dies" || !errors.Is(err, boom) {
		t.Errorf("Run: %v, want a ServerError of dies", err)
	}
	d.want(t, "c stops", "c stopped", "a stops", "a stopped")
}

// A port in use keeps all of them from starting, and the hooks run.
func TestInOrderPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	started, hook := false, false
	app := pid1.App{Logger: discard}
	app.Shutdown.Defer("hook", func(context.Context) error { hook = true; return nil })
	err = app.Run(t.Context(), pid1.InOrder(
		pid1.Func(func(context.Context) error { started = true; return nil }),
		&http.Server{Addr: l.Addr().String()}))
	if err == nil || started || !hook {
		t.Errorf("Run: %v, first one started: %v, hook ran: %v; want an error, false, true", err, started, hook)
	}
}

func TestInOrderRefusesBadInput(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("InOrder() does not panic")
		}
	}()
	app := pid1.App{Logger: discard}
	err := app.Run(t.Context(), pid1.Func(worker), pid1.InOrder(pid1.Func(worker), nil))
	if err == nil || !strings.Contains(err.Error(), "InOrder: server 2 of 2 is nil") {
		t.Errorf("Run: %v", err)
	}
	pid1.InOrder()
}

// A Server that wraps an InOrder stops its servers in order, too.
func TestInOrderWrapped(t *testing.T) {
	type wrapped struct{ pid1.Server }
	var d diary
	ctx, cancel := context.WithCancel(t.Context())
	app := pid1.App{Logger: discard}
	go func() { <-stopWhenReady(&app); cancel() }()
	if err := app.Run(ctx, wrapped{pid1.InOrder(d.member("a"), d.member("b"))}); err != nil {
		t.Error(err)
	}
	d.want(t, "b stops", "b stopped", "a stops", "a stopped")
}

// A program has been started when the next server is.
func TestInOrderStartsProgramFirst(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if cmd.Err != nil {
		t.Skip(cmd.Err)
	}
	app := pid1.App{Logger: discard}
	err := app.Run(t.Context(), pid1.InOrder(pid1.Command(cmd), pid1.Func(func(ctx context.Context) error {
		if cmd.Process == nil {
			t.Error("sleep has not been started")
		}
		return nil // stops the App
	})))
	if code := pid1.ExitCode(err); code != 128+15 {
		t.Errorf("exit code %d, want sleep's: %v", code, err)
	}
}

// When the time is up, one that ignores that does not hide the others.
func TestInOrderOutOfTime(t *testing.T) {
	release, asked := make(chan struct{}), make(chan struct{})
	first := &shutdownFunc{stop: func(context.Context) error { close(asked); return nil }, done: make(chan struct{})}
	hangs := &shutdownFunc{stop: func(context.Context) error { <-release; return nil }, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- pid1.InOrder(first, hangs).Shutdown(ctx) }()
	select {
	case <-asked:
		t.Error("first is stopped before hangs has ended")
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	select {
	case <-asked:
	case <-time.After(10 * time.Second):
		t.Error("first is never told to stop")
	}
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What depends on a program that cannot be started is not started.
func TestInOrderProgramMissing(t *testing.T) {
	for range 20 {
		app := pid1.App{Logger: discard}
		started := false
		closed := &shutdownFunc{stop: func(context.Context) error { t.Error("stopped, but never started"); return nil }}
		err := app.Run(t.Context(), pid1.InOrder(
			pid1.Command(exec.Command("/no/such/program")),
			pid1.Func(func(context.Context) error { started = true; return nil }),
			&http.Server{Addr: "127.0.0.1:0"},
			closed))
		if code := pid1.ExitCode(err); code != 127 || started {
			t.Fatalf("exit code %d, the next one started: %v; want 127, false: %v", code, started, err)
		}
	}
}
