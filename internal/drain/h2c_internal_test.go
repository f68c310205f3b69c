// SPDX-License-Identifier: MIT

package drain

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestFrames: heads and ends are found, however the bytes come.
func TestFrames(t *testing.T) {
	bytes := []byte("SM\r\n\r\n" + // a preface
		"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + // empty
		"\x00\x00\x03\x01\x00\x00\x00\x00\x01abc" + // without END_HEADERS
		"\x00\x00\x01\x09\x04\x00\x00\x00\x01d" +
		"\x00\x01\x2c\x00\x01\x80\x00\x00\x03") // the reserved bit, a length of two bytes
	bytes = append(bytes, make([]byte, 300)...)
	want := []string{"begun 4 0 0", "ended 4 0 0", "begun 1 0 1", "ended 1 0 1", "begun 9 4 1", "ended 9 4 1", "begun 0 1 3", "ended 0 1 3"}
	for _, size := range []int{1, 2, 3, 8, 9, 10, 100, len(bytes)} {
		var got []string
		record := func(what string) func(kind, flags byte, stream uint32) {
			return func(kind, flags byte, stream uint32) {
				got = append(got, fmt.Sprint(what, " ", kind, " ", flags, " ", stream))
			}
		}
		f := frames{begun: record("begun"), ended: record("ended"), skip: 6}
		for chunk := range slices.Chunk(bytes, size) {
			if (len(got) == 7 || len(got) > 2 && len(got) < 6) && f.between {
				t.Errorf("size %d: inside a frame or a header it is called the space between two", size)
			}
			f.read(chunk)
		}
		if !slices.Equal(got, want) || !f.between {
			t.Errorf("size %d: %q, %v; want %q and the space between two", size, got, f.between, want)
		}
	}
}

// TestMayBecomeH2C is what h2c.NewHandler upgrades.
func TestMayBecomeH2C(t *testing.T) {
	for _, test := range []struct {
		upgrade    []string
		connection string
		want       bool
	}{
		{[]string{"h2c"}, "Upgrade, HTTP2-Settings", true},
		{[]string{"H2C, websocket"}, "http2-settings,upgrade", true},
		{[]string{"websocket", "foo , h2c"}, "HTTP2-Settings", true},
		{[]string{"h2c"}, "Upgrade", false},
		{[]string{"h2cx"}, "HTTP2-Settings", false},
		{nil, "HTTP2-Settings", false},
	} {
		r := &http.Request{ProtoMajor: 1, Header: http.Header{"Upgrade": test.upgrade, "Connection": {test.connection}}}
		if got := mayBecomeH2C(r); got != test.want {
			t.Errorf("Upgrade: %q, Connection: %s: got %t", test.upgrade, test.connection, got)
		}
	}
}

// TestHijackedIsForgotten: also if states are reported after the hijacking, as
// h2c.NewHandler does, and while the stop goes on.
func TestHijackedIsForgotten(t *testing.T) {
	srv := new(http.Server)
	var handlers sync.WaitGroup
	hijacked := make(chan bool)
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer handlers.Done()
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		inner := conn
		if h, ok := conn.(*h2cConn); ok {
			inner = h.Conn
		}
		srv.ConnState(inner, http.StateActive)
		srv.ConnState(inner, http.StateIdle)
		hijacked <- true
		io.Copy(io.Discard, conn)
	})
	h := NewHTTP(context.Background(), srv, Hooks{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.Bind(l)
	served := make(chan error)
	go func() { served <- h.Serve(srv.Serve) }()
	for _, head := range []string{"PRI * HTTP/2.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n"} {
		handlers.Add(1)
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, head)
		<-hijacked
		conn.Close()
		handlers.Wait()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := h.Shutdown(ctx, context.Canceled); err != nil {
		t.Error(err)
	}
	<-served
	left := 0
	h.conns.all.Range(func(any, any) bool { left++; return true })
	if open, busy := h.conns.open.Load(), h.conns.busy.Load(); left != 0 || open != 0 || busy != 0 {
		t.Errorf("%d connections left; %d count as open, %d as busy", left, open, busy)
	}
}
