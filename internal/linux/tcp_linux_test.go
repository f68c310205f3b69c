// SPDX-License-Identifier: MIT

package linux_test

import (
	"encoding/binary"
	"io"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/linux"
	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

func TestParseTCP(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the lines are from a little-endian machine")
	}
	at := func(s string) net.TCPAddr {
		addr, err := net.ResolveTCPAddr("tcp", s)
		if err != nil {
			t.Fatal(err)
		}
		return *addr
	}
	for _, c := range []struct {
		line string
		want linux.TCPSocket // zero: refused
	}{
		{
			"   1: 0100007F:1F90 0200A8C0:D431 04 000F3241:00000007 01:00000013 00000003        0        2 0 1 00000000 20 4 0 10 -1\n",
			linux.TCPSocket{Local: at("127.0.0.1:8080"), Peer: at("192.168.0.2:54321"), Unsent: 0xF3241, Unanswered: 5},
		},
		{
			"   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1048 1 0 100 0 0 10 0\n",
			linux.TCPSocket{Local: at("[::]:443"), Peer: at("[::]:0"), Listens: true, Inode: 1048},
		},
		{
			"12345: 0000000000000000FFFF00000100007F:1F90 B80D0120000000000000000001000000:0001 01 00000000:00000000 00:00000000 00000000 0 0 77 1 0",
			linux.TCPSocket{Local: at("127.0.0.1:8080"), Peer: at("[2001:db8::1]:1"), Inode: 77},
		},
		{line: "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"},
		{line: "   1: 0100007:1F90 0200A8C0:D431 04 000F3241:00000007 01:00000013 00000003 0 2 0 1"},
		{line: "   1: 0100007F0100007F:1F90 0200A8C0:D431 04 000F3241:00000007 01:00000013 00000003 0 2 0 1"},
		{line: "   1: 0100007F:1F90 0200A8C0:D431 04 000F3241:00000007 01:00000013 00000003 0 2"},
		{line: ""},
	} {
		got := linux.ParseTCP(c.line)
		if got == nil || c.want.Local.IP == nil {
			if got != nil || c.want.Local.IP != nil {
				t.Errorf("%q: got %+v, want %+v", c.line, got, c.want)
			}
			continue
		}
		same := got.Local.IP.Equal(c.want.Local.IP) && got.Peer.IP.Equal(c.want.Peer.IP)
		got.Local.IP, got.Peer.IP = c.want.Local.IP, c.want.Peer.IP
		if !same || !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%q: got %+v, want %+v", c.line, got, c.want)
		}
	}
}

func FuzzParseTCP(f *testing.F) {
	f.Add("   1: 0100007F:1F90 0200A8C0:D431 04 000F3241:00000007 01:00000013 00000003        0        2 0 1 00000000 20 4 0 10 -1\n")
	f.Fuzz(func(t *testing.T, line string) {
		if s := linux.ParseTCP(line); s != nil && (len(s.Local.IP) == 0 || len(s.Peer.IP) == 0) {
			t.Errorf("%q: %+v", line, s)
		}
	})
}

// A listener is found, and a connection with bytes that the peer has no room for,
// of IPv4 and IPv6, also after it was closed. This process holds the open ones.
func TestTCPSockets(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		l, err := net.Listen("tcp", host+":0")
		if err != nil && host != "127.0.0.1" {
			t.Logf("no IPv6: %v", err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		listener := find(linux.TCPListeners(), l.Addr())
		if listener == nil || !listener.Listens || !held(listener.Inode) {
			t.Fatalf("%s: got %+v for the listener", host, listener)
		}

		peer, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		conn.Write(make([]byte, 32<<20)) // more than both buffers hold
		if s := find(unsent(t), l.Addr()); s == nil || s.Peer.String() != peer.LocalAddr().String() || !held(s.Inode) {
			t.Errorf("%s: got %+v for the connection from %s", host, s, peer.LocalAddr())
		}
		conn.Close()
		if s := find(unsent(t), l.Addr()); s == nil || s.Inode != 0 {
			t.Errorf("%s: got %+v for the closed connection", host, s)
		}
		if _, err := io.Copy(io.Discard, peer); err != nil {
			t.Error(err)
		}
	}
}

func unsent(t *testing.T) []*linux.TCPSocket {
	t.Helper()
	all, err := linux.UnsentTCP()
	if err != nil {
		t.Error(err)
	}
	return all
}

// With no descriptor free nobody knows of the sockets: that is not none.
func TestUnsentTCPNoDescriptor(t *testing.T) {
	take, free := nstest.Descriptors(t)
	take()
	all, err := linux.UnsentTCP()
	free()
	if !linux.NoDescriptor(err) {
		t.Errorf("got %v, %v; want an error", all, err)
	}
}

func find(sockets []*linux.TCPSocket, local net.Addr) *linux.TCPSocket {
	for _, s := range sockets {
		if s.Local.String() == local.String() {
			return s
		}
	}
	return nil
}

func held(inode uint64) (yes bool) {
	linux.EachSocketInode(func(of uint64) (more bool) {
		yes = of == inode
		return !yes
	})
	return yes
}
