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
