// SPDX-License-Identifier: MIT

package drain

import (
	"bufio"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
)

// TestRequestEndsWhileOthersAreTold: a handler returns while the functions of
// RegisterOnShutdown are called, and the client's next request begins. net/http does
// not drop it.
func TestRequestEndsWhileOthersAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		release := make(chan bool)
		srv := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/first" {
				<-release
			}
		})}
		s := startOn(t, srv, l)
		s.hooks.Go = func(f func()) { f() }
		conn := l.dial()
		defer conn.Close()
		responses := bufio.NewReader(conn)
		io.WriteString(conn, "GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
		srv.RegisterOnShutdown(func() {
			close(release)
			http.ReadResponse(responses, nil)
			io.WriteString(conn, "GET / HTTP/1.1\r\n")
		})
		served := make(chan error)
		go func() {
			<-release
			served <- sendRest(conn, responses, "Host: a\r\n\r\n")
		}()
		took := s.stop()
		if err := <-served; err != nil {
			t.Errorf("lost: %v; the stop took %v", err, took)
		}
	})
}

// TestGate: a connection that comes to read a request while net/http is told to shut
// down has no byte of it read. If that is put off, it reads.
func TestGate(t *testing.T) {
	for _, end := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := newPipes()
			s := startOn(t, &http.Server{Handler: nothing}, l)
			s.conns.hold()
			conn := l.dial()
			defer conn.Close()
			sent := make(chan error)
			go func() {
				_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				sent <- err
			}()
			synctest.Wait()
			select {
			case err := <-sent:
				t.Errorf("end %t: read at the gate: %v", end, err)
			default:
			}
			s.conns.release(end)
			if err := <-sent; (err != nil) != end {
				t.Errorf("end %t: %v", end, err)
			}
			if !end {
				http.ReadResponse(bufio.NewReader(conn), nil)
			}
			s.stop()
		})
	}
}
