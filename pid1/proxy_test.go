// SPDX-License-Identifier: MIT

//go:build unix

package pid1_test

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
	"github.com/entrypoint-go/entrypoint/pid1"
)

// The tests of this file put two backends behind a real proxy and restart them
// in turn, under the load of wrk. They are skipped where HAProxy, nginx or wrk is
// not installed, but fail there with CI=true. $PID1_TEST_RESTARTS is how many
// restarts they make: 1 by default, 4 in CI, 20 for the figures in the documentation.

func init() { helpers["backend"] = backendMain }

// backendMain is a server as a proxy wants it: with a readiness check, and a
// delay in which that is failing.
func backendMain() int {
	app := pid1.App{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	addr := flag.String("addr", "", "listen here")
	flag.DurationVar(&app.Delay, "delay", 0, "App.Delay")
	header := flag.Bool("header", false, "connections begin with a header of the PROXY protocol")
	flag.Parse()

	ready := app.ReadyHandler()
	checked := sync.OnceFunc(func() { fmt.Println("checked") })
	var requests atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 100 {
			fmt.Println("loaded")
		}
		time.Sleep(time.Millisecond)
		io.WriteString(w, "hello")
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		ready.ServeHTTP(w, r)
		if app.Ready() {
			checked()
		}
	})
	srv := &http.Server{Addr: *addr, Handler: mux, BaseContext: func(net.Listener) context.Context {
		fmt.Println("serving")
		return context.Background()
	}}
	var server pid1.Server = srv
	if *header {
		l, err := net.Listen("tcp", *addr)
		if err != nil {
			panic(err)
		}
		server = pid1.Listen(headerListener{l}, srv)
	}
	return pid1.ExitCode(app.Run(context.Background(), server))
}

// backend starts a backend, and waits until it listens.
func backend(t *testing.T, addr string, delay time.Duration, flags ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: nstest.Child(t, "backend", append(flags, "-addr="+addr, "-delay="+delay.String())...)}
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.await("serving")
	return p
}

// installed returns the path of a program that the test needs.
func installed(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
	return path
}

// freeAddr is a loopback address that nobody listened on a moment ago. Port 0
// will not do: it gives one of those that connections get, too, and one of the
// load's would take it while a backend restarts.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port from 10000 to 30000 is free")
	return ""
}

// A site is what a proxy's configuration is made of.
type site struct {
	Dir      string
	Addr     string
	Backends [2]string
	Once     bool   // HAProxy sends a request once; after a refused connection it takes the other backend until a check succeeds
	Flags    string // of HAProxy's servers, such as send-proxy
}

// run runs a program until the test ends. It writes to the file log, whose end is
// shown if the test fails.
func (s *site) run(t *testing.T, program string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(s.Dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.CommandContext(nstest.Context(t), program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			said := s.read("log")
			t.Logf("%s wrote:\n%s", program, said[max(0, len(said)-2000):])
		}
	})
}

// read returns a file's content, or nothing if there is none.
func (s *site) read(name string) []byte {
	content, _ := os.ReadFile(filepath.Join(s.Dir, name))
	return content
}

// write makes a file of a template.
func (s *site) write(t *testing.T, name, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := template.Must(template.New(name).Parse(text)).Execute(&b, s); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.Dir, name)
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// HAProxy asks the backends whether they are ready, as Kubernetes does. It logs
// what is not normal: errors, retries, 5xx.
const haproxyConfig = `
global
	log stdout format raw local0
defaults
	mode http
	log global
	option httplog
	option dontlog-normal
{{if .Once}}	http-reuse always
	retries 0
{{else}}	option redispatch
{{end}}	timeout connect 5s
	timeout client 60s
	timeout server 60s
	timeout check 5s
frontend front
	bind {{.Addr}}
	default_backend back
backend back
	option httpchk GET /readyz
	default-server check inter 100ms rise 1 {{if .Once}}observe layer4 error-limit 1 on-error mark-down{{else}}fall 1{{end}} {{.Flags}}
	server a {{index .Backends 0}}
	server b {{index .Backends 1}}
`

// The free nginx does not ask. It learns of a stop when a connection is refused,
// and then takes the other backend. It logs 5xx.
const nginxConfig = `
daemon off;
pid {{.Dir}}/nginx.pid;
error_log stderr warn;
events {}
http {
	map $status $failed { ~^5 1; default 0; }
	log_format status "$status $request";
	access_log {{.Dir}}/access.log status if=$failed;
	client_body_temp_path {{.Dir}};
	proxy_temp_path {{.Dir}};
	fastcgi_temp_path {{.Dir}};
	uwsgi_temp_path {{.Dir}};
	scgi_temp_path {{.Dir}};
	upstream back {
		server {{index .Backends 0}} max_fails=0;
		server {{index .Backends 1}} max_fails=0;
		keepalive 32;
	}
	server {
		listen {{.Addr}};
		location / {
			proxy_pass http://back;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
}
`

func newSite(t *testing.T) *site {
	// Not t.TempDir: nginx's workers, who are somebody else, must get in.
	dir, err := os.MkdirTemp("", "site")
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o777)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &site{Dir: dir, Addr: freeAddr(t), Backends: [2]string{freeAddr(t), freeAddr(t)}}
}

func TestBehindHAProxy(t *testing.T) {
	slow(t)
	haproxy, wrk := installed(t, "haproxy"), installed(t, "wrk")
	s := newSite(t)
	s.rollingRestarts(t, wrk, time.Second, func() {
		s.run(t, haproxy, "-db", "-f", s.write(t, "haproxy.cfg", haproxyConfig))
	}, true)

	// …/status in "httplog": the 5 timers, then the status, -1 if there is none.
	failed := regexp.MustCompile(`(?m)^.* back/\S+ [-\d/+]+ (5\d\d|-1) .*$`).FindAll(s.read("log"), -1)
	if len(failed) > 0 {
		t.Errorf("HAProxy logged %d failures, such as:\n%s", len(failed), failed[0])
	}
}

func TestBehindNginx(t *testing.T) {
	slow(t)
	nginx, wrk := installed(t, "nginx"), installed(t, "wrk")
	s := newSite(t)
	s.rollingRestarts(t, wrk, -1, func() {
		s.run(t, nginx, "-p", s.Dir, "-c", s.write(t, "nginx.conf", nginxConfig))
	}, false)
	if failed := s.read("access.log"); len(failed) > 0 {
		t.Errorf("nginx logged %d failures", bytes.Count(failed, []byte("\n")))
	}
}

// restarts is how many restarts of backends a test makes.
func restarts(t *testing.T) int {
	n := nstest.Rounds(1, 1, 4)
	if v := os.Getenv("PID1_TEST_RESTARTS"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatalf("$PID1_TEST_RESTARTS: %v", err)
		}
	}
	return n
}

// awaitProxy returns when a request comes through the proxy.
func (s *site) awaitProxy(t *testing.T) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		res, err := http.Get("http://" + s.Addr)
		if err == nil {
			res.Body.Close()
		}
		if err == nil && res.StatusCode == 200 {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("the proxy is not ready after a minute: %v", err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// load runs wrk with these arguments, until end is called, which returns what wrk
// prints when it is interrupted.
func (s *site) load(t *testing.T, wrk string, args ...string) (end func() []byte) {
	t.Helper()
	var result bytes.Buffer
	cmd := exec.CommandContext(nstest.Context(t), wrk, append(args, "-t1", "-c20", "-d1h", "http://"+s.Addr+"/")...)
	cmd.Stdout, cmd.Stderr = &result, &result
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() }) // in case the test does not get to its end
	return func() []byte {
		cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("wrk: %v\n%s", err, &result)
		}
		return result.Bytes()
	}
}

// rollingRestarts restarts the backends in turn under load, and checks that no
// client saw a failure. With checks, a restart ends when the proxy has seen that
// the backend is ready.
func (s *site) rollingRestarts(t *testing.T, wrk string, delay time.Duration, proxy func(), checks bool) {
	n := restarts(t)
	var backends [2]*process
	for i, addr := range s.Backends {
		backends[i] = backend(t, addr, delay)
	}
	proxy()
	s.awaitProxy(t)
	if checks {
		for _, b := range backends {
			b.await("checked")
		}
	}

	load := s.load(t, wrk)
	var took []time.Duration
	for i := range n {
		b := &backends[i%2]
		began := time.Now()
		(*b).signal(syscall.SIGTERM)
		(*b).wantExit(0)
		took = append(took, time.Since(began))
		*b = backend(t, s.Backends[i%2], delay)
		if checks {
			(*b).await("checked")
		}
		time.Sleep(200 * time.Millisecond) // of load on both
	}
	result := load()
	for _, b := range backends {
		b.signal(syscall.SIGTERM)
		b.wantExit(0)
	}
	t.Logf("%d restarts, each stop took %s\n%s", n, spread(took), result)
	if bad := regexp.MustCompile(`(?m)^ *(Socket errors|Non-2xx).*$`).FindAll(result, -1); bad != nil {
		t.Errorf("wrk saw failures: %s", bytes.Join(bad, []byte("; ")))
	}
}
