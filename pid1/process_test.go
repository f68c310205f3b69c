// SPDX-License-Identifier: MIT

//go:build unix

package pid1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
)

func init() {
	helpers["app"] = appMain
}

// appMain is a program on this library. It says on stdout what it is doing, in
// lines that tests wait for, and logs to stderr.
func appMain() int {
	hook := flag.String("hook", "quick", "what the deferred hook does: quick, hang until its context ends, ignore that")
	before := flag.Bool("before", false, "wait for a stop signal before anything listens")
	dies := flag.Bool("dies", false, "a second server fails at once")
	leave := flag.Bool("leave", false, "start a process that ignores SIGTERM")
	addr := flag.String("addr", "127.0.0.1:0", "listen here")
	var app pid1.App
	flag.DurationVar(&app.Shutdown.Grace, "grace", 0, "App.Shutdown.Grace")
	flag.DurationVar(&app.Delay, "delay", 0, "App.Delay")
	flag.Parse()

	app.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	app.OnHangup = func(context.Context) error {
		fmt.Println("hangup")
		return nil
	}
	ready := func() int {
		w := httptest.NewRecorder()
		app.ReadyHandler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		return w.Code
	}
	told := make(chan struct{}) // closed when the line "stopping" is written
	app.Shutdown.Defer("outer", func(ctx context.Context) error {
		select {
		case <-told:
		case <-ctx.Done():
		}
		fmt.Println("readiness", ready())
		fmt.Println("outer hook")
		return nil
	})
	app.Shutdown.Defer("stuck", func(ctx context.Context) error {
		fmt.Println("hook")
		switch *hook {
		case "hang":
			<-ctx.Done()
			return ctx.Err()
		case "ignore":
			ignoreContext()
		}
		return nil
	})
	if *leave {
		left := exec.Command("/bin/sh", "-c", `trap "" TERM; echo deaf; while :; do sleep 1; done`)
		left.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		stdout, err := left.StdoutPipe()
		if err == nil {
			err = left.Start()
		}
		if err == nil {
			_, err = bufio.NewReader(stdout).ReadString('\n')
		}
		if err != nil {
			panic(err)
		}
	}
	if *before {
		app.Before("wait", func(ctx context.Context) error {
			fmt.Println("before")
			<-ctx.Done()
			return ctx.Err()
		})
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		<-app.Stopping()
		fmt.Println("stopping, readiness", ready())
		close(told)
	}()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stop", func(http.ResponseWriter, *http.Request) { stop() })
	mux.HandleFunc("GET /quick", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "quick") })
	mux.HandleFunc("GET /wait", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("request")
		bufio.NewReader(os.Stdin).ReadString('\n') // until the test says so
		fmt.Fprintf(w, "answered")
	})
	srv := &http.Server{Addr: *addr, Handler: mux, BaseContext: func(l net.Listener) context.Context {
		fmt.Println("serving", l.Addr())
		return context.Background()
	}}
	servers := []pid1.Server{srv}
	if *dies {
		servers = append(servers, pid1.Named("mail", pid1.Func(func(context.Context) error {
			return errors.New("no route to mail host")
		})))
	}
	return pid1.ExitCode(app.Run(ctx, servers...))
}

// ignoreContext is a name to look for in a stack.
func ignoreContext() { select {} }

// A process is a running helper.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr bytes.Buffer
}

// start runs the helper "app" as a real PID 1.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, nstest.Command(t, "app", args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd}
	p.cmd.Stderr = &p.stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin, p.stdout = stdin, bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// await reads lines up to one that starts with prefix, and returns its rest.
func (p *process) await(prefix string) string {
	p.t.Helper()
	for {
		line, err := p.stdout.ReadString('\n')
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return strings.TrimSpace(rest)
		}
		if err != nil {
			p.cmd.Wait()
			p.t.Fatalf("no line %q on stdout: %v; stderr:\n%s", prefix, err, &p.stderr)
		}
	}
}

func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// signalAgain sends a signal that is not the one before told again.
func (p *process) signalAgain(sig os.Signal) time.Time {
	p.t.Helper()
	time.Sleep(1200 * time.Millisecond)
	p.signal(sig)
	return time.Now()
}

// signalUntilExit sends the signal until the process has ended.
func (p *process) signalUntilExit(sig os.Signal, want int) {
	p.t.Helper()
	defer tellAgain(func() { p.cmd.Process.Signal(sig) })()
	p.wantExit(want)
}

// tellAgain calls tell, which sends a stop signal, again and again until the function
// returned is called. Sooner than after half a second it would be the same stop told
// again, and so it may be later, to a process that has not run meanwhile.
func tellAgain(tell func()) (enough func()) {
	quit := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		every := time.NewTicker(800 * time.Millisecond)
		defer every.Stop()
		for {
			select {
			case <-every.C:
				tell()
			case <-quit:
				return
			}
		}
	})
	return func() {
		close(quit)
		telling.Wait()
	}
}

// exit waits for the end and returns the exit code.
func (p *process) exit() int {
	p.t.Helper()
	rest, _ := io.ReadAll(p.stdout)
	p.stdout = bufio.NewReader(bytes.NewReader(rest))
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) wantExit(want int) {
	p.t.Helper()
	if got := p.exit(); got != want {
		p.t.Fatalf("exit code %d, want %d; stderr:\n%s", got, want, &p.stderr)
	}
}

func (p *process) wantLog(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if !strings.Contains(p.stderr.String(), w) {
			p.t.Errorf("the log does not say %q:\n%s", w, &p.stderr)
		}
	}
}

func TestProcessFinishesRequestInFlight(t *testing.T) {
	t.Parallel()
	p := start(t)
	addr := p.await("serving ")
	type answer struct {
		body string
		err  error
		at   time.Time
	}
	answers := make(chan answer, 1)
	go func() {
		res, err := http.Get("http://" + addr + "/wait")
		if err != nil {
			answers <- answer{err: err}
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		answers <- answer{string(body), err, time.Now()}
	}()
	p.await("request")
	p.signal(syscall.SIGTERM)

	// New connections are refused while the request is still being served.
	for {
		conn, err := net.Dial("tcp", addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		if err == nil {
			conn.Close()
		}
	}
	io.WriteString(p.stdin, "go\n")
	a := <-answers
	if a.err != nil || a.body != "answered" {
		t.Errorf("got %q, %v; want the full response", a.body, a.err)
	}
	p.wantExit(0)
	http.DefaultClient.CloseIdleConnections()
	t.Logf("gone %v after the last response", time.Since(a.at))
}

func TestProcessStopsInFlightOfNothing(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := start(t)
		p.await("serving ")
		p.signal(sig)
		p.wantExit(0)
		p.await("hook")
		p.await("outer hook")
		p.wantLog("report.")
	}
}

func TestProcessSecondSignalForces(t *testing.T) {
	t.Parallel()
	for _, second := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := start(t, "-hook=ignore", "-grace=1m")
		p.await("serving ")
		p.signal(syscall.SIGTERM)
		p.await("hook")
		forced := p.signalAgain(second)
		p.wantExit(128 + int(second))
		t.Logf("gone %v after the second signal", time.Since(forced))
		p.wantLog(`msg="shutdown: forced"`, `msg="shutdown: step skipped" step=outer`)
		if rest, _ := io.ReadAll(p.stdout); strings.Contains(string(rest), "outer hook") {
			t.Errorf("stdout %q, want no hook after the force", rest)
		}
	}
}

func TestProcessSecondSignalEndsDelay(t *testing.T) {
	t.Parallel()
	p := start(t, "-delay=30s", "-grace=1m", "-hook=hang")
	addr := p.await("serving ")
	p.signal(syscall.SIGTERM)

	// The servers go on, and send their clients away.
	for {
		res, err := http.Get("http://" + addr + "/quick")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.Close {
			break
		}
	}
	http.DefaultClient.CloseIdleConnections()
	p.signalAgain(syscall.SIGTERM)
	p.await("hook")
	p.signalUntilExit(syscall.SIGTERM, 143)
}

func TestProcessHookIgnoresContext(t *testing.T) {
	t.Parallel()
	p := start(t, "-hook=ignore", "-grace=3s")
	p.await("serving ")
	stopped, stalled := time.Now(), stalls(t)
	p.signal(syscall.SIGTERM)
	p.wantExit(124)
	if took := time.Since(stopped); took > 3*time.Second+stalled() {
		t.Errorf("gone after %v, want within the grace of 3s; the machine has stalled for %v", took, stalled())
	}
	p.await("outer hook")
	p.wantLog("stuck", "ignoreContext")
}

func TestProcessServerDies(t *testing.T) {
	t.Parallel()
	p := start(t, "-dies")
	p.wantExit(1)
	p.await("outer hook")
	p.wantLog("mail: no route to mail host")
}

func TestProcessPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := start(t, "-addr="+l.Addr().String())
	p.wantExit(1)
	p.await("outer hook")
	p.wantLog("http "+l.Addr().String()+": listen tcp", "address already in use")
}

func TestProcessStopBeforeListening(t *testing.T) {
	t.Parallel()
	p := start(t, "-before")
	p.await("before")
	p.signal(syscall.SIGTERM)
	p.wantExit(0)
	out, _ := io.ReadAll(p.stdout)
	if got := string(out); strings.Contains(got, "serving") || !strings.Contains(got, "outer hook") {
		t.Errorf("stdout %q, want hooks and no serving", got)
	}
}

// TestProcessKillsWhatIsLeft: a process that ignores SIGTERM gets SIGKILL inside
// the grace, and that is no failure of the stop.
func TestProcessKillsWhatIsLeft(t *testing.T) {
	t.Parallel()
	slow(t)
	p := start(t, "-leave", "-grace=6s")
	p.await("serving ")
	stalled := stalls(t)
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code == 124 && stalled() > 100*time.Millisecond {
		t.Skip("the machine has stalled, and the end of the killed process was not seen in time")
	} else if code != 0 {
		t.Fatalf("exit code %d, want 0; stderr:\n%s", code, &p.stderr)
	}
	p.wantLog("step=processes state=ok")
}

func TestProcessHangup(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.await("serving ")
	p.signal(syscall.SIGHUP)
	p.await("hangup")
	p.signal(syscall.SIGTERM)
	p.wantExit(0)
}

// TestReadyInKubernetes: when the pod is being ended, readiness stays until the
// delay is over. When the stop has another reason, or elsewhere, it ends at once.
func TestReadyInKubernetes(t *testing.T) {
	t.Parallel()
	slow(t)
	for _, test := range []struct {
		name, host, delay string
		stop              syscall.Signal // 0: a request ends Run's context
		want              string
	}{
		{"SIGTERM", "10.0.0.1", "1m", syscall.SIGTERM, "200"},
		{"SIGTERM, default delay", "10.0.0.1", "0", syscall.SIGTERM, "200"},
		{"SIGTERM, no delay", "10.0.0.1", "-1s", syscall.SIGTERM, "503"},
		{"SIGINT", "10.0.0.1", "3s", syscall.SIGINT, "503"},
		{"context", "10.0.0.1", "3s", 0, "503"},
		{"SIGTERM elsewhere", "", "3s", syscall.SIGTERM, "503"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd := nstest.Command(t, "app", "-delay="+test.delay, "-grace=2m")
			cmd.Env = append(cmd.Env, "KUBERNETES_SERVICE_HOST="+test.host)
			p := startCommand(t, cmd)
			addr := p.await("serving ")
			if test.stop != 0 {
				p.signal(test.stop)
			} else {
				client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
				res, err := client.Get("http://" + addr + "/stop")
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
			}
			if got := p.await("stopping, readiness "); got != test.want {
				t.Errorf("when the stop has begun: got %s, want %s", got, test.want)
			}
			if test.delay == "1m" {
				p.signalAgain(syscall.SIGINT) // ends it
			}
			if got := p.await("readiness "); got != "503" {
				t.Errorf("after the delay: got %s, want 503", got)
			}
			p.wantExit(0)
		})
	}
}

// TestProcessServesOnWhatIsDue: after a signal a connection is served on until its
// next request is overdue. A stop that a signal did not begin does not wait.
func TestProcessServesOnWhatIsDue(t *testing.T) {
	t.Parallel()
	const interval = 300 * time.Millisecond
	p := start(t)
	w := dial(t, p.await("serving "))
	request := func() (string, error) {
		io.WriteString(w, "GET /quick HTTP/1.1\r\nHost: a\r\n\r\n")
		res, err := http.ReadResponse(w.r, nil)
		if err != nil {
			return "", err
		}
		body, err := io.ReadAll(res.Body)
		return string(body), err
	}
	var last time.Time
	for range 3 {
		last = time.Now()
		if body, err := request(); body != "quick" || err != nil {
			t.Fatalf("got %q, %v", body, err)
		}
		time.Sleep(interval)
	}
	p.signal(syscall.SIGTERM)
	time.Sleep(interval / 4)
	if time.Since(last) > 2*interval-interval/4 {
		p.exit()
		t.Skip("the machine has stalled: the next request is overdue")
	}
	if body, err := request(); body != "quick" || err != nil {
		t.Errorf("got %q, %v", body, err)
	}
	p.wantExit(0)
}
