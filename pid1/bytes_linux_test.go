// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"flag"
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
	"golang.org/x/sys/unix"
)

func init() {
	helpers["bytes"] = bytesMain
	helpers["bytes child"] = func() int {
		l := listenSomewhere("127.0.0.1:0")
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		go serveBytes(l, sentBytes)
		<-stop
		return 0
	}
}

// sentBytes is a response that the kernel takes whole, also if nobody reads it.
const sentBytes = 512 << 10

// bytesMain runs a server of some kind, which answers each connection with
// sentBytes and closes it.
func bytesMain() int {
	kind := flag.String("kind", "http", "of server")
	addr := flag.String("addr", "127.0.0.1:0", "listen here")
	size := flag.Int("size", sentBytes, "of a response")
	buffer := flag.Int("buffer", 0, "what the kernel takes for a client, if not 0")
	app := pid1.App{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	flag.DurationVar(&app.Shutdown.Grace, "grace", 0, "App.Shutdown.Grace")
	isolate := flag.Bool("isolate", false, "call RunIsolated")
	line := flag.Bool("line", false, "a line on PID 1's stdin ends the context of Run")
	flag.Parse()
	os.Setenv("ENTRYPOINT_NSTEST_HELPER", "bytes") // for RunIsolated's child

	srv := &http.Server{Addr: *addr, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(*size))
		w.Write(make([]byte, *size))
		fmt.Println("sent")
	})}
	srv.BaseContext = func(l net.Listener) context.Context {
		fmt.Println("serving", l.Addr())
		return context.Background()
	}
	if *buffer > 0 {
		srv.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
			if err := conn.(*net.TCPConn).SetWriteBuffer(*buffer); err != nil {
				panic(err)
			}
			return ctx
		}
	}
	var server pid1.Server
	switch *kind {
	case "http":
		server = srv
	case "h2c":
		srv.Protocols = new(http.Protocols)
		srv.Protocols.SetUnencryptedHTTP2(true)
		server = srv
	case "tls":
		cert, _ := certificate()
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
		server = pid1.TLS(srv, "", "")
	case "listen":
		server = pid1.Listen(listenSomewhere(*addr), &closesListener{size: *size})
	case "func":
		server = pid1.Func(func(ctx context.Context) error {
			l := listenSomewhere(*addr)
			context.AfterFunc(ctx, func() { l.Close() })
			serveBytes(l, *size)
			return nil
		})
	case "command":
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "ENTRYPOINT_NSTEST_HELPER=bytes child")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		server = pid1.Command(cmd)
	}
	run := app.Run
	if *isolate {
		run = app.RunIsolated
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if *line && pid1.IsInit() {
		go func() { bufio.NewReader(os.Stdin).ReadString('\n'); cancel() }()
	}
	return pid1.ExitCode(run(ctx, server))
}

func listenSomewhere(addr string) net.Listener {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		panic(err)
	}
	fmt.Println("serving", l.Addr())
	return l
}

// serveBytes answers the first byte of each connection, and closes that.
func serveBytes(l net.Listener, size int) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		bufio.NewReader(conn).ReadString('\n')
		conn.Write(make([]byte, size))
		conn.Close()
		fmt.Println("sent")
	}
}

// A closesListener is a server whose Shutdown only closes its listener.
type closesListener struct {
	l    net.Listener
	size int
}

func (c *closesListener) Serve(l net.Listener) error {
	c.l = l
	serveBytes(l, c.size)
	return nil
}

func (c *closesListener) Shutdown(context.Context) error { return c.l.Close() }

// request sends a request over a connection with little room for the response,
// and returns when the server has sent that.
func (p *process) request(kind, addr string) (conn net.Conn) {
	p.t.Helper()
	conn = dialSmall(p.t, addr)
	if kind == "tls" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	text := "now\n"
	if kind == "http" || kind == "tls" {
		text = "GET / HTTP/1.0\r\n\r\n"
	}
	if _, err := io.WriteString(conn, text); err != nil {
		p.t.Fatal(err)
	}
	p.await("sent")
	return conn
}

// dialSmall connects with little room for what the server sends.
func dialSmall(t *testing.T, addr string) net.Conn {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) })
	}}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func startBytes(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, nstest.Command(t, "bytes", args...))
}

// TestBytesArrive: PID 1 does not end before its clients have received all, since
// the network of a container would end with it.
func TestBytesArrive(t *testing.T) {
	t.Parallel()
	slow(t)
	for _, args := range [][]string{
		{"-kind=http"}, {"-kind=tls"}, {"-kind=listen"}, {"-kind=func"}, {"-kind=command"}, {"-kind=http", "-isolate"}, {"-kind=http", "-isolate", "-line"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			knowingListeners(t, func() (*process, error) { return bytesArrive(t, args) })
		})
	}
}

// knowingListeners makes five attempts at most. One that fails is void if PID 1 had no
// step for the bytes: on a busy machine it does not know in time, a tenth of a second,
// on which addresses listen others than its own servers.
func knowingListeners(t *testing.T, attempt func() (*process, error)) {
	t.Helper()
	var errs []error
	for range 5 {
		p, err := attempt()
		if err == nil {
			return
		}
		errs = append(errs, err)
		if strings.Contains(p.stderr.String(), "step=bytes") {
			t.Error(errors.Join(errs...))
			return
		}
	}
	if os.Getenv("CI") != "true" {
		t.Skipf("who listens was not known in time, five times: %v", errs[0])
	}
	t.Error(errors.Join(errs...))
}

// bytesArrive stops a PID 1 whose client is slow.
func bytesArrive(t *testing.T, args []string) (*process, error) {
	p := startBytes(t, append(args, "-grace=1m")...)
	addr := p.await("serving ")
	conn := p.request(strings.TrimPrefix(args[0], "-kind="), addr)
	if slices.Contains(args, "-line") {
		io.WriteString(p.stdin, "stop\n")
	} else {
		p.signal(syscall.SIGTERM)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		io.Copy(io.Discard, p.stdout)
	}()
	if err := p.receive(conn, ended); err != nil {
		<-ended
		p.exit()
		return p, err
	}
	<-ended
	p.wantExit(0)
	return p, nil
}

// receive takes a second for what the server has sent. Without waiting, PID 1 ends
// much earlier.
func (p *process) receive(conn net.Conn, ended <-chan struct{}) error {
	chunk, total := make([]byte, sentBytes/64), 0
	for i := range 64 {
		time.Sleep(16 * time.Millisecond)
		n, err := io.ReadFull(conn, chunk)
		if total += n; err != nil && i < 63 {
			return fmt.Errorf("after %d bytes: %w", total, err)
		}
		select {
		case <-ended:
			if i < 32 {
				return fmt.Errorf("PID 1 ended when the client had received %d of %d bytes", total, sentBytes)
			}
		default:
		}
	}
	rest, err := io.ReadAll(conn)
	if total += len(rest); total < sentBytes || err != nil {
		return fmt.Errorf("received %d of %d bytes, then %v", total, sentBytes, err)
	}
	return nil
}

// TestBytesLeft: the wait ends inside the grace, and the error names the client.
func TestBytesLeft(t *testing.T) {
	t.Parallel()
	slow(t)
	p := startBytes(t, "-kind=listen", "-grace=6s")
	conn := p.request("", p.await("serving "))
	began, stalled := time.Now(), stalls(t)
	p.signal(syscall.SIGTERM)
	p.wantExit(124)
	if took := time.Since(began); took > 6*time.Second+stalled() {
		t.Errorf("gone after %v, want within the grace of 6s; the machine has stalled for %v", took, stalled())
	}
	p.wantLog("step=bytes state=failed", "not received by clients: "+conn.LocalAddr().String()+" (", "waiting for clients to receive what was sent")
}

// TestBytesGone: a client that has vanished is not waited for to the end.
func TestBytesGone(t *testing.T) {
	t.Parallel()
	slow(t)
	p := startBytes(t, "-kind=listen", "-grace=10m")
	conn := p.request("", p.await("serving "))
	dropAll(t, conn)
	p.signal(syscall.SIGTERM)
	p.wantExit(0)
	p.wantLog("clients that no longer answer were not waited for", conn.LocalAddr().String()+" (")
}

// dropAll makes the kernel drop every packet to conn, as if its machine were gone.
func dropAll(t *testing.T, conn net.Conn) {
	t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &filter[0]})
	})
	if err == unix.EPERM {
		t.Skip("only root may attach a filter here")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestBytesOfOthers: in a network namespace that is shared, the sockets of others
// are not waited for.
func TestBytesOfOthers(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	conn.Write(make([]byte, 32<<20))

	for _, kind := range []string{"http", "func"} {
		knowingListeners(t, func() (*process, error) {
			p := startBytes(t, "-kind="+kind)
			p.await("serving ")
			p.signal(syscall.SIGTERM)
			p.wantExit(0)
			if !strings.Contains(p.stderr.String(), "step=bytes state=ok") {
				return p, fmt.Errorf("%s: the log does not say that the step bytes is ok:\n%s", kind, &p.stderr)
			}
			return p, nil
		})
	}
}
