package drain

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
)

// nothing is a handler that costs nothing.
var nothing = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// servedConn returns what net/http has of a server and of one of its
// connections: the server with our hooks, and the context of its requests.
func servedConn(conn net.Conn) (*http.Server, context.Context) {
	srv := &http.Server{Handler: nothing}
	NewHTTP(context.Background(), srv, nil)
	ctx := srv.ConnContext(context.Background(), conn)

	// As deep as in net/http: the connection's address, its cancellation, the
	// request's.
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, conn)
	ctx, cancel := context.WithCancel(ctx)
	_ = cancel
	ctx, cancel = context.WithCancel(ctx)
	_ = cancel
	return srv, ctx
}

// oneRequest does what net/http does with our hooks for one request.
func oneRequest(srv *http.Server, conn net.Conn, r *http.Request) {
	srv.ConnState(conn, http.StateActive)
	srv.Handler.ServeHTTP(nil, r)
	srv.ConnState(conn, http.StateIdle)
}

// BenchmarkHooks is what a request costs more than in a plain http.Server.
func BenchmarkHooks(b *testing.B) {
	b.Run("one connection", func(b *testing.B) {
		conn := new(net.TCPConn)
		srv, ctx := servedConn(conn)
		r, _ := http.NewRequestWithContext(ctx, "GET", "/", nil)
		b.ReportAllocs()
		for b.Loop() {
			oneRequest(srv, conn, r)
		}
	})
	b.Run("all processors", func(b *testing.B) {
		srv, _ := servedConn(new(net.TCPConn))
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			conn := new(net.TCPConn)
			ctx := srv.ConnContext(context.Background(), conn)
			r, _ := http.NewRequestWithContext(ctx, "GET", "/", nil)
			for pb.Next() {
				oneRequest(srv, conn, r)
			}
		})
	})
}

// TestHooksDoNotAllocate: not while serving, that is.
func TestHooksDoNotAllocate(t *testing.T) {
	conn := new(net.TCPConn)
	srv, ctx := servedConn(conn)
	r, _ := http.NewRequestWithContext(ctx, "GET", "/", nil)
	if n := testing.AllocsPerRun(1000, func() { oneRequest(srv, conn, r) }); n >= 1 {
		t.Errorf("%v allocations a request, want none", n)
	}
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
		h := NewHTTP(b.Context(), srv, nil)
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
