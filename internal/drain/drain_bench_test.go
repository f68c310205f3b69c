// SPDX-License-Identifier: MIT

package drain

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
)

// nothing is a handler that costs nothing.
var nothing = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// served returns a server with our hooks.
func served() (*HTTP, *http.Server) {
	srv := &http.Server{Handler: nothing}
	return NewHTTP(context.Background(), srv, Hooks{}), srv
}

// connect returns what net/http has of a connection: itself, and the context of
// its requests.
func connect(h *HTTP, srv *http.Server) (net.Conn, context.Context) {
	conn := h.conns.wrap(new(net.TCPConn))
	ctx := srv.ConnContext(context.Background(), conn)

	// As deep as in net/http: the connection's address, its cancellation, the
	// request's.
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, conn)
	ctx, cancel := context.WithCancel(ctx)
	_ = cancel
	ctx, cancel = context.WithCancel(ctx)
	_ = cancel
	return conn, ctx
}

// oneRequest does what net/http does with our hooks for one request, and what our
// Read does around the socket's: for the request, and for the background read.
func oneRequest(srv *http.Server, conn net.Conn, r *http.Request) {
	c := own(conn)
	c.beforeRead(4096)
	c.afterRead([]byte("GET"), nil)
	srv.ConnState(conn, http.StateActive)
	c.beforeRead(1)
	srv.Handler.ServeHTTP(nil, r)
	c.afterRead(nil, errEnded)
	srv.ConnState(conn, http.StateIdle)
}

// BenchmarkHooks is what a request costs more than in a plain http.Server.
func BenchmarkHooks(b *testing.B) {
	b.Run("one connection", func(b *testing.B) {
		h, srv := served()
		conn, ctx := connect(h, srv)
		r, _ := http.NewRequestWithContext(ctx, "GET", "/", nil)
		b.ReportAllocs()
		for b.Loop() {
			oneRequest(srv, conn, r)
		}
	})
	b.Run("all processors", func(b *testing.B) {
		h, srv := served()
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			conn, ctx := connect(h, srv)
			r, _ := http.NewRequestWithContext(ctx, "GET", "/", nil)
			for pb.Next() {
				oneRequest(srv, conn, r)
			}
		})
	})
}

// TestHooksDoNotAllocate: not while serving, that is.
func TestHooksDoNotAllocate(t *testing.T) {
	h, srv := served()
	conn, ctx := connect(h, srv)
	r, _ := http.NewRequestWithContext(ctx, "GET", "/", nil)
	if n := testing.AllocsPerRun(1000, func() { oneRequest(srv, conn, r) }); n >= 1 {
		t.Errorf("%v allocations a request, want none", n)
	}
}

// TestMemory: what an idle connection that has carried a request costs more than in
// a plain http.Server, which is 512 B at most.
func TestMemory(t *testing.T) {
	const n = 10_000
	h, srv := served()
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = new(net.TCPConn)
	}
	r, _ := http.NewRequest("GET", "/", nil)
	before := heap()
	for i, accepted := range conns {
		conn := h.conns.wrap(accepted)
		c := own(conn)
		srv.ConnContext(t.Context(), conn)
		c.end(c.begin(r))
		conns[i] = conn
	}
	each := (heap() - before) / n
	t.Logf("%d B a connection", each)
	if each > 512 {
		t.Errorf("%d B a connection, want at most 512", each)
	}
	runtime.KeepAlive(conns)
	runtime.KeepAlive(h)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkRequest is a whole request on a kept connection, plain and with our
// hooks.
func BenchmarkRequest(b *testing.B) {
	b.Run("plain", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		srv := &http.Server{Handler: nothing}
		done := make(chan error)
		go func() { done <- srv.Serve(l) }()
		requests(b, l.Addr())
		srv.Close()
		<-done
	})
	b.Run("drain", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		srv := &http.Server{Handler: nothing}
		h := NewHTTP(b.Context(), srv, Hooks{})
		h.Bind(l)
		done := make(chan error)
		go func() { done <- h.Serve(srv.Serve) }()
		requests(b, l.Addr())
		if err := h.Shutdown(b.Context(), context.Canceled); err != nil {
			b.Error(err)
		}
		<-done
	})
}

func requests(b *testing.B, addr net.Addr) {
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	answer := bufio.NewReader(conn)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			b.Fatal(err)
		}
		for line := ""; line != "\r\n"; {
			if line, err = answer.ReadString('\n'); err != nil {
				b.Fatal(err)
			}
		}
	}
}
