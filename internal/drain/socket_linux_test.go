// SPDX-License-Identifier: MIT

package drain

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

type (
	netConn     = net.Conn
	syscallConn = syscall.Conn
)

// TestUnsentUnknown: what the kernel does not tell is not taken for nothing.
func TestUnsentUnknown(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	conn := struct { // whose descriptor is no socket's
		netConn
		syscallConn
	}{syscallConn: f}
	if some, known := unsent(conn); some || known {
		t.Errorf("got %t, %t; want unknown", some, known)
	}
}

// TestResetInQueue: a client that has reset its connection while that waited in the
// accept queue has no address that the kernel still knows. No hook gets it.
func TestResetInQueue(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for reset := range 2 {
		conn, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if reset == 0 {
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}
	l := newListener(tcp)
	go l.refuse(t.Context().Done())
	n := 0
	for conn := range l.queue {
		n++
		if conn.RemoteAddr() == nil {
			t.Error("a connection has no RemoteAddr")
		}
		conn.Close()
	}
	if n != 1 {
		t.Errorf("got %d connections, want that of the other client", n)
	}
}
