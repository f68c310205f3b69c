// SPDX-License-Identifier: MIT

package recipes

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"testing"
)

// Servers without HTTP: calls in flight are answered, and idle connections do not
// hold the stop up. A call that is sent when its connection ends may be lost: these
// protocols cannot tell the client to go.
func TestListeners(t *testing.T) {
	for name, dial := range map[string]func(net.Conn) session{"tcp": dialLines, "net-rpc": dialRPC} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := freeAddr(t)
			p := start(t, name, "ADDR="+addr, "SHUTDOWN_GRACE=60s")
			var idle session
			p.await(addr+" to answer", func() bool {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					return false
				}
				idle = dial(conn)
				if err := idle.call(); err != nil {
					idle.Close()
					return false
				}
				return true
			})
			defer idle.Close()
			load := startLoad(http.MethodPost, "http://"+addr, func() http.RoundTripper { return &dialer{dial: dial} })
			load.await(t, 2*clients)
			load.stopping.Store(true)
			p.stop()
			load.end()
			p.wantCleanEnd(nil)
			load.count(t, name)
			if n := load.early.Load(); n > 0 {
				t.Errorf("%d of those lost were sent before the stop, the first: %v", n, load.first)
			}
		})
	}
}

// A session is a connection whose calls take turns.
type session interface {
	call() error
	io.Closer
}

type lineSession struct {
	net.Conn
	lines *bufio.Reader
}

func dialLines(conn net.Conn) session { return lineSession{conn, bufio.NewReader(conn)} }

func (s lineSession) call() error {
	if _, err := io.WriteString(s, "sleep\n"); err != nil {
		return err
	}
	line, err := s.lines.ReadString('\n')
	if err == nil && line != "done\n" {
		err = errors.New(line)
	}
	return err
}

type rpcSession struct{ *rpc.Client }

func dialRPC(conn net.Conn) session { return rpcSession{rpc.NewClient(conn)} }

func (s rpcSession) call() error { return s.Call("Sleeper.Sleep", "", new(string)) }

// A dialer lets a load call something that is not HTTP. It repeats nothing, and
// dials again after an error.
type dialer struct {
	dial    func(net.Conn) session
	session session
}

func (d *dialer) RoundTrip(req *http.Request) (*http.Response, error) {
	if d.session == nil {
		conn, err := net.Dial("tcp", req.URL.Host)
		if err != nil {
			return nil, err
		}
		d.session = d.dial(conn)
	}
	err := d.session.call()
	if err == rpc.ErrShutdown { // the client knew before, and has sent nothing
		d.CloseIdleConnections()
		return d.RoundTrip(req)
	}
	if err != nil {
		d.CloseIdleConnections()
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: req}, nil
}

func (d *dialer) CloseIdleConnections() {
	if d.session != nil {
		d.session.Close()
		d.session = nil
	}
}
