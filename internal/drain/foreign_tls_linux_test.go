// SPDX-License-Identifier: MIT

package drain

import (
	"bufio"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

// A tlsListener returns *tls.Conns, as autocert's does.
type tlsListener struct {
	net.Listener
	config *tls.Config
}

func (l tlsListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(conn, l.config), nil
}

// TestForeignTLSInParts: of a *tls.Conn of the user's listener, too, a request has
// headerWait from its first bytes on, whether it is the first one or not, and so has
// a handshake.
func TestForeignTLSInParts(t *testing.T) {
	nstest.SkipEmulated(t, "does not know TCP_INFO")
	reads := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	const first, second = "GET / HTTP/1.1\r\n", "Host: a\r\n\r\n"
	for _, test := range []struct {
		name  string
		begin func(conn *tls.Conn, responses *bufio.Reader)
		rest  string
	}{
		{"first request", func(conn *tls.Conn, _ *bufio.Reader) { io.WriteString(conn, first) }, second},
		{"second request", func(conn *tls.Conn, responses *bufio.Reader) {
			io.WriteString(conn, first+second)
			http.ReadResponse(responses, nil)
			io.WriteString(conn, first)
		}, second},
		{"after a body", func(conn *tls.Conn, responses *bufio.Reader) {
			io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
			http.ReadResponse(responses, nil)
			io.WriteString(conn, first)
		}, second},
		{"late", func(conn *tls.Conn, _ *bufio.Reader) {
			conn.Handshake()
			time.Sleep(headerWait * 6 / 5) // the case: a client that is silent for longer than that
			io.WriteString(conn, first)
		}, second},
		{"handshake", func(conn *tls.Conn, _ *bufio.Reader) { conn.Handshake() }, first + second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			config, client := tlsConfigs()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := startOn(t, &http.Server{Handler: reads, ErrorLog: log.New(io.Discard, "", 0)}, tlsListener{l, config})
			conn := tls.Client(s.dial(), client)
			responses := bufio.NewReader(conn)
			test.begin(conn, responses)
			served := make(chan error)
			go func() { served <- sendRest(conn, responses, test.rest) }()
			took := s.stop()
			if err := <-served; err != nil {
				t.Errorf("lost: %v; the stop took %v", err, took)
			}
		})
	}
}

// TestForeignTLSSilent: nothing is waited for where nothing has begun.
func TestForeignTLSSilent(t *testing.T) {
	config, client := tlsConfigs()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := startOn(t, &http.Server{Handler: nothing, ErrorLog: log.New(io.Discard, "", 0)}, tlsListener{l, config})
	s.dial() // and says nothing
	if !get(tls.Client(s.dial(), client)) {
		t.Fatal("not served")
	}
	if took := s.stop(); took >= headerWait {
		t.Errorf("took %v, want less than %v", took, headerWait)
	}
}
