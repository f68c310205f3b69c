// SPDX-License-Identifier: MIT

// Package recipes tests the programs in its folders: each is started as it is, put
// under load, and stopped by SIGTERM.
package recipes

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// programs is the folder of the programs.
var programs string

// buildOnce builds them all at once, when the first one is needed: not for -list.
var buildOnce = sync.OnceValue(func() error {
	if out, err := exec.Command("go", "build", "-o", programs, "./...").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
})

// program is the program of that name, built.
func program(t *testing.T, name string) string {
	t.Helper()
	if err := buildOnce(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(programs, name)
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "recipes")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	programs = dir
	code := m.Run()
	if testing.Verbose() {
		printTotals()
	}
	return code
}

// Requests in flight get their responses, and no request is lost where the server
// allows that. Lines is what the program prints, in this order.
func TestServers(t *testing.T) {
	for _, test := range []struct {
		name   string
		lossy  bool // the server may lose what arrives on idle connections
		method string
		lines  []string
	}{
		{name: "gin"},
		{name: "echo"},
		{name: "chi-connect"},
		{name: "fiber-adaptor"},
		{name: "fiber", lossy: true},
		{name: "fasthttp", lossy: true},
		{name: "hertz", lossy: true},
		{name: "kratos", lossy: true},
		{name: "kratos-handler"},
		{name: "grpc-gateway", method: http.MethodGet},
		{name: "prometheus"},
		{name: "fx", lines: []string{"fx hook"}},
		{name: "oklog-run", lines: []string{"worker interrupted"}},
		{name: "cobra"},
		{name: "urfave-cli"},
		{name: "database", lines: []string{"database closed"}},
		{name: "opentelemetry", lines: []string{"cache closed", "spans flushed: true"}},
		{name: "certificates"},
		{name: "zap"},
		{name: "zerolog"},
		{name: "logr"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			addr := freeAddr(t)
			p := start(t, test.name, "ADDR="+addr,
				"METRICS_ADDR="+freeAddr(t), "GRPC_ADDR="+freeAddr(t), "DATABASE_URL="+filepath.Join(t.TempDir(), "db"))
			p.awaitHTTP("http://" + addr)
			load := startLoad(cmp.Or(test.method, http.MethodPost), "http://"+addr, func() http.RoundTripper { return new(http.Transport) })
			load.await(t, 50)
			load.stopping.Store(true)
			p.stop()
			load.end()
			p.wantCleanEnd(test.lines)
			load.check(t, test.lossy)
			load.count(t, test.name)
		})
	}
}

// In Kubernetes these serve on for the delay: they do not take the signal themselves.
func TestDelay(t *testing.T) {
	for _, name := range []string{"hertz", "kratos"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := freeAddr(t)
			p := start(t, name, "ADDR="+addr, "KUBERNETES_SERVICE_HOST=10.0.0.1")
			p.awaitHTTP("http://" + addr)
			load := startLoad(http.MethodPost, "http://"+addr, func() http.RoundTripper { return new(http.Transport) })
			began := time.Now()
			p.terminate()
			load.end()
			if took := time.Since(began); took < 4*time.Second {
				t.Errorf("served on for %v, want the delay of 5s", took)
			}
			p.awaitEnd()
			p.wantCleanEnd(nil)
		})
	}
}

// A process is a recipe's program that runs.
type process struct {
	*exec.Cmd
	t     *testing.T
	out   lines
	log   lines
	ended chan struct{} // closed when it has ended
}

func start(t *testing.T, name string, env ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(program(t, name)), t: t, ended: make(chan struct{})}
	// Not in Kubernetes, whatever the tests run in, unless env says so: no delay.
	p.Env = append(append(os.Environ(), "KUBERNETES_SERVICE_HOST="), env...)
	p.Stdout, p.Stderr = &p.out, &p.log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.Wait() // ProcessState has it
	}()
	t.Cleanup(func() {
		p.Process.Kill()
		<-p.ended
	})
	return p
}

// awaitHTTP returns when the server answers.
func (p *process) awaitHTTP(url string) {
	p.t.Helper()
	p.await(url+" to answer", func() bool {
		resp, err := http.Get(url)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// awaitLine returns when the program has printed a line.
func (p *process) awaitLine(line string) {
	p.t.Helper()
	p.await("the line "+line, func() bool { return strings.Contains(p.out.String(), line+"\n") })
}

func (p *process) await(what string, holds func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.ended:
			p.t.Fatalf("the program ended (%v) before %s:\n%s", p.ProcessState, what, &p.log)
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("waited a minute for %s:\n%s", what, &p.log)
		}
	}
}

// stop sends SIGTERM and waits for the end.
func (p *process) stop() {
	p.t.Helper()
	p.terminate()
	p.awaitEnd()
}

func (p *process) terminate() {
	p.t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) awaitEnd() {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		p.t.Fatalf("the program has not ended a minute after SIGTERM:\n%s", &p.log)
	}
}

// wantCleanEnd checks the exit code, and that the program printed these lines in
// this order.
func (p *process) wantCleanEnd(lines []string) {
	p.t.Helper()
	if code := p.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("exit code %d, want 0; log:\n%s", code, &p.log)
	}
	rest := p.out.String()
	for _, line := range lines {
		_, after, found := strings.Cut(rest, line+"\n")
		if !found {
			p.t.Errorf("printed\n%swant in it, in this order: %q", &p.out, lines)
			return
		}
		rest = after
	}
}

// lines is a buffer that may be read while a process writes.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// clients is how many a load has.
const clients = 8

// A load is clients with a keep-alive connection each, which send a request
// as soon as they have a response. They begin one after another, so that most requests are
// with the handler at any time, which takes 20 ms. No client repeats anything. A
// client whose dial is refused has found the server gone, and ends.
type load struct {
	ok, lost atomic.Int64
	stopping atomic.Bool  // set by the test before it stops the server
	early    atomic.Int64 // of those lost, which were sent before that
	first    error        // what was lost first
	once     sync.Once
	clients  sync.WaitGroup
	cancel   context.CancelFunc
}

func startLoad(method, url string, transport func() http.RoundTripper) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	for i := range clients {
		client := &http.Client{Transport: transport()}
		l.clients.Go(func() {
			defer client.CloseIdleConnections()
			time.Sleep(time.Duration(i) * 20 * time.Millisecond / clients)
			for l.request(ctx, client, method, url) {
			}
		})
	}
	return l
}

func (l *load) request(ctx context.Context, client *http.Client, method, url string) (goOn bool) {
	// A body that cannot be read twice: the transport does not repeat it either.
	body := io.MultiReader(strings.NewReader("body"))
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		panic(err)
	}
	early := !l.stopping.Load()
	resp, err := client.Do(req)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err == nil && resp.StatusCode != http.StatusOK {
			err = errors.New(resp.Status)
		}
	}
	switch {
	case err == nil:
		l.ok.Add(1)
		return true
	case errors.Is(err, syscall.ECONNREFUSED), ctx.Err() != nil:
		return false
	}
	l.lost.Add(1)
	if early {
		l.early.Add(1)
	}
	l.once.Do(func() { l.first = err })
	return true
}

// await returns when n requests were answered.
func (l *load) await(t *testing.T, n int64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); l.ok.Load() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d requests were answered in a minute, want %d; lost: %d, the first: %v", l.ok.Load(), n, l.lost.Load(), l.first)
		}
	}
}

// end returns when all clients have found the server gone. Until then each waits
// for what it has sent.
func (l *load) end() { l.clients.Wait() }

// cut is for clients that wait long for a server that is gone.
func (l *load) cut() {
	l.cancel()
	l.clients.Wait()
}

// check fails if a request was lost that may not be. Where requests on idle
// connections may be, one that crosses the signal may be, too, but no more.
func (l *load) check(t *testing.T, lossy bool) {
	t.Helper()
	if n, early := l.lost.Load(), l.early.Load(); n > 0 && !lossy || early > clients/2 {
		t.Errorf("%d of %d requests lost, %d sent before the stop, the first: %v", n, l.ok.Load()+n, early, l.first)
	}
}

// A total is what all loads of a name have sent and lost. With -v, the tests end
// with these: -count=20 gives the figures of docs/recipes.md.
type total struct{ sent, lost, stops int64 }

var (
	totalsMu sync.Mutex
	totals   = map[string]total{}
)

func (l *load) count(t *testing.T, name string) {
	lost := l.lost.Load()
	sent := l.ok.Load() + lost
	t.Logf("%s: %d of %d requests lost", name, lost, sent)
	totalsMu.Lock()
	defer totalsMu.Unlock()
	was := totals[name]
	totals[name] = total{was.sent + sent, was.lost + lost, was.stops + 1}
}

func printTotals() {
	for _, name := range slices.Sorted(maps.Keys(totals)) {
		sum := totals[name]
		fmt.Printf("%-16s %d of %d lost in %d stops\n", name, sum.lost, sum.sent, sum.stops)
	}
}

var given sync.Map // the addresses of freeAddr

// freeAddr returns an address that is free for TCP and UDP. Its port is none that
// the kernel gives to whoever asks for any, a client for instance.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000))
		if _, again := given.LoadOrStore(addr, nil); again {
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		defer l.Close()
		c, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		defer c.Close()
		return addr
	}
	t.Fatal("no port is free")
	return ""
}
