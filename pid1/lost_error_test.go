// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

// A brokenListener's Accept fails from a moment on.
type brokenListener struct {
	net.Listener
	broken <-chan struct{}
	close  func() // what Close does: Serve calls it when it returns
}

var errBroken = errors.New("the listener is broken")

func (l brokenListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	select {
	case <-l.broken:
		return nil, errBroken
	default:
		return conn, err
	}
}

func (l brokenListener) Close() error { l.close(); return nil }

// serving is how many goroutines of this process are in an App's call of a server.
func serving() int {
	stacks := make([]byte, 1<<20)
	return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("pid1.(*serverState).serve.func"))
}

// TestListenerBreaksInStop: the error of a listener that breaks between the begin of a
// stop and the drain of its server is reported, also if that drain fails.
func TestListenerBreaksInStop(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broken, closed := make(chan struct{}), make(chan struct{})
	entered, started := make(chan bool), make(chan bool)
	srv := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		entered <- true
		<-r.Context().Done() // when the drain cuts it off
	})}
	breaks := func(ctx context.Context) error {
		started <- true
		<-ctx.Done()
		close(broken)
		l.Close() // wakes Accept
		<-closed
		for serving() > 1 { // this one
			time.Sleep(time.Millisecond)
		}
		return nil
	}
	app := &pid1.App{Shutdown: shutdown.Pipeline{Grace: 2 * time.Second}}
	// The worker stops before srv does.
	broke := brokenListener{l, broken, sync.OnceFunc(func() { close(closed) })}
	s := run(t, app, pid1.InOrder(pid1.Listen(broke, srv), pid1.Func(breaks)))
	dial(t, l.Addr().String()).send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
	<-entered
	<-started
	if _, err := s.stop(); !errors.Is(err, errBroken) {
		t.Errorf("Run: %v; want the error of the listener in it", err)
	}
}
