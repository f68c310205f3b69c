// SPDX-License-Identifier: MIT

//go:build unix

package pid1_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/reaper"
)

// A nilError dereferences its receiver, as a typed nil does that was returned by
// mistake.
type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

// A server's error that cannot be printed does not keep the hooks from running,
// with and without a service manager to notify. (One that blocks: TestHostile.)
func TestUnprintableError(t *testing.T) {
	for _, socket := range []string{"", "/no/such/socket"} {
		t.Setenv("NOTIFY_SOCKET", socket)
		hook := false
		app := pid1.App{Logger: discard}
		app.Shutdown.Defer("hook", func(context.Context) error { hook = true; return nil })
		err := app.Run(t.Context(), pid1.Func(func(context.Context) error { return (*nilError)(nil) }))
		if err == nil || !hook {
			t.Errorf("socket %q: hook ran: %v, want it to, and an error", socket, hook)
		}
	}
}

// A reload that a stop interrupts is no failure of the stop.
func TestHangupInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	running := make(chan bool)
	app := pid1.App{Logger: discard}
	app.OnHangup = func(ctx context.Context) error {
		running <- true
		<-ctx.Done()
		<-app.Stopping()
		time.Sleep(20 * time.Millisecond) // into the step that waits for it
		return ctx.Err()
	}
	done := make(chan error)
	go func() {
		done <- app.Run(ctx, pid1.Func(func(ctx context.Context) error {
			syscall.Kill(os.Getpid(), syscall.SIGHUP)
			return worker(ctx)
		}))
	}()
	<-running
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v, want nil", err)
	}
}

// A worker that returns the cause that it was given has not failed, even if a
// signal has become the reason for the stop since.
func TestWorkerReturnsFormerCause(t *testing.T) {
	for range 10 {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		enough := errors.New("enough")
		app := pid1.App{Logger: discard}
		reports := reportOf(&app)
		err := app.Run(ctx, pid1.Func(func(ctx context.Context) error {
			cancel(enough)
			<-ctx.Done()
			syscall.Kill(os.Getpid(), syscall.SIGTERM)
			time.Sleep(50 * time.Millisecond) // until the signal is the reason
			return context.Cause(ctx)
		}))
		if err != nil {
			t.Errorf("Run: %v, want nil", err)
		}
		if errors.As((<-reports).Cause, new(*pid1.SignalError)) {
			return
		}
	}
	t.Error("the signal was never within a tenth of a second of the end of ctx: the test is void")
}

type slowWriter struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(20 * time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *slowWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// What a Reaper with a Logger of its own has logged is written when Run returns.
func TestReaperLoggerFlushed(t *testing.T) {
	var log slowWriter
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	app := pid1.App{Logger: discard, Reaper: reaper.Reaper{Subreaper: true, Logger: logger}}
	err := app.Run(ctx, pid1.Func(func(ctx context.Context) error { cancel(); return worker(ctx) }))
	if err != nil || !strings.Contains(log.String(), "reaper:") {
		t.Errorf("Run: %v; log when it returned: %q", err, log.String())
	}
}

// The error of a second Run is written, too, when Run returns.
func TestSecondRunLogged(t *testing.T) {
	var log slowWriter
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	app := pid1.App{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	_ = app.Run(ctx, pid1.Func(worker))
	err := app.Run(ctx, pid1.Func(worker))
	if err == nil || !strings.Contains(log.String(), "called twice") {
		t.Errorf("Run: %v; log when it returned: %q", err, log.String())
	}
}

// A start that fails because of one server closes the listeners of the others.
func TestInvalidServerReleasesListeners(t *testing.T) {
	for name, order := range map[string]int{"before": 0, "after": 1} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
			if err != nil {
				t.Fatal(err)
			}
			servers := []pid1.Server{pid1.Listen(l, new(http.Server)), nil}
			if order == 1 {
				servers[0], servers[1] = servers[1], servers[0]
			}
			app := pid1.App{Logger: discard}
			if err := app.Run(t.Context(), servers...); err == nil {
				t.Fatal("no error")
			}
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the listener was left open: Close: %v", err)
			}
		})
	}
}

// listenNotify makes this process the service manager's, which is told things on the
// connection that it returns.
func listenNotify(t *testing.T) net.PacketConn {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenPacket("unixgram", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { manager.Close() })
	t.Setenv("NOTIFY_SOCKET", socket)
	return manager
}

// systemd is not told READY=1 by a reload that comes before the servers listen, or
// ends after the stop has begun.
func TestReloadAtTheWrongTime(t *testing.T) {
	manager := listenNotify(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reloaded := make(chan bool)
	app := pid1.App{Logger: discard}
	app.OnHangup = func(context.Context) error { reloaded <- true; return nil }
	app.Before("reload", func(context.Context) error {
		syscall.Kill(os.Getpid(), syscall.SIGHUP)
		<-reloaded
		return errors.New("no start")
	})
	if err := app.Run(ctx, pid1.Func(worker)); err == nil {
		t.Fatal("no error")
	}
	manager.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	message := make([]byte, 4096)
	for {
		n, _, err := manager.ReadFrom(message)
		if err != nil {
			break
		}
		if got := string(message[:n]); strings.Contains(got, "READY=1") || strings.Contains(got, "RELOADING=1") {
			t.Errorf("the service manager was told %q", got)
		}
	}
}

// A forced stop and an interrupted Job are no mere cancellation, which many programs
// ignore; the signal is found all the same.
func TestErrorsAreNotCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	app := pid1.App{Logger: discard}
	err := app.Run(ctx, pid1.Job(func(ctx context.Context) error {
		syscall.Kill(os.Getpid(), syscall.SIGTERM)
		<-ctx.Done()
		return ctx.Err()
	}))
	var by *pid1.SignalError
	if errors.Is(err, context.Canceled) || !errors.As(err, &by) || pid1.ExitCode(err) != 143 {
		t.Errorf("interrupted job: %v, signal %v, exit code %d", err, by, pid1.ExitCode(err))
	}

	release := make(chan bool)
	app = pid1.App{Logger: discard}
	app.Shutdown.Defer("hook", func(ctx context.Context) error {
		defer tellAgain(func() { syscall.Kill(os.Getpid(), syscall.SIGTERM) })()
		<-ctx.Done()
		close(release)
		return nil
	})
	err = app.Run(t.Context(), pid1.Func(func(ctx context.Context) error {
		syscall.Kill(os.Getpid(), syscall.SIGTERM)
		return worker(ctx)
	}))
	<-release
	by = nil
	if errors.Is(err, context.Canceled) || !errors.Is(err, pid1.ErrForced) || !errors.As(err, &by) || pid1.ExitCode(err) != 143 {
		t.Errorf("forced: %v, signal %v, exit code %d", err, by, pid1.ExitCode(err))
	}
}

// A key on a file system that hangs does not keep a stop from beginning.
func TestCertificateHangs(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "key")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	app := pid1.App{Logger: discard}
	done := make(chan error, 1)
	app.Before("then", func(context.Context) error {
		time.AfterFunc(50*time.Millisecond, cancel)
		return nil
	})
	go func() { done <- app.Run(ctx, pid1.TLS(&http.Server{Addr: "127.0.0.1:0"}, fifo, fifo)) }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Run waits for the file")
	}
	for range 2 { // end the goroutine: certificate and key
		if w, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			w.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Run ends inside the grace, whatever the log and a hook do.
func TestRunInsideGrace(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	app := pid1.App{Logger: slog.New(blockedHandler{release})}
	app.Shutdown.Grace = time.Second
	app.Shutdown.Defer("hangs", func(context.Context) error { <-release; return nil })
	stalled := stalls(t)
	var stopped time.Time
	err := app.Run(t.Context(), pid1.Func(func(context.Context) error {
		stopped = time.Now()
		return errors.New("boom")
	}))
	if took := time.Since(stopped); took > time.Second+stalled() {
		t.Errorf("Run returned %v after the stop began, want within 1s; the machine has stalled for %v: %v", took, stalled(), err)
	}
}

type blockedHandler struct{ release <-chan struct{} }

func (h blockedHandler) Enabled(context.Context, slog.Level) bool  { return true }
func (h blockedHandler) Handle(context.Context, slog.Record) error { <-h.release; return nil }
func (h blockedHandler) WithAttrs([]slog.Attr) slog.Handler        { return h }
func (h blockedHandler) WithGroup(string) slog.Handler             { return h }

// A server on Listen that is forced is closed.
func TestForcedClosesForeignServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &foreignServer{closed: make(chan struct{})}
	app := pid1.App{Logger: discard}
	app.Shutdown.Grace = time.Minute
	err = app.Run(t.Context(), pid1.Listen(l, s), pid1.Func(func(ctx context.Context) error {
		syscall.Kill(os.Getpid(), syscall.SIGTERM)
		<-ctx.Done()
		defer tellAgain(func() { syscall.Kill(os.Getpid(), syscall.SIGTERM) })()
		<-s.closed
		return nil
	}))
	select {
	case <-s.closed:
	default:
		t.Errorf("not closed; Run: %v", err)
	}
}

// A foreignServer serves until Close.
type foreignServer struct{ closed chan struct{} }

func (s *foreignServer) Serve(net.Listener) error           { <-s.closed; return nil }
func (s *foreignServer) Shutdown(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func (s *foreignServer) Close() error                       { close(s.closed); return nil }

// A TLS Server may be used without an App, as an *http.Server may.
func TestServerWithoutApp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := pid1.Listen(l, new(http.Server))
	served := make(chan error, 1)
	go func() { served <- s.ListenAndServe() }()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	l.Close()
	<-served
}

// An Accept that is busy with a client who says nothing holds up only itself.
func TestAcceptThatBlocks(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	busy := make(chan bool, 1)
	s := pid1.Listen(greedyListener{l, busy}, &http.Server{Handler: answer("hello")})
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	app := pid1.App{Logger: discard}
	app.Shutdown.Grace = 10 * time.Minute
	go func() {
		<-busy
		cancel()
	}()
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx, s) }()
	<-app.Stopping()
	select {
	case <-time.After(time.Minute):
		t.Error("the stop waits for Accept")
		client.Close()
		<-done
	case err := <-done:
		t.Logf("Run: %v after %v", err, time.Since(began).Round(time.Millisecond))
	}
}

// A greedyListener reads from a connection before Accept returns it, as one for the
// PROXY protocol does.
type greedyListener struct {
	net.Listener
	busy chan<- bool
}

func (l greedyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.busy <- true
		conn.Read(make([]byte, 1))
	}
	return conn, err
}
