// SPDX-License-Identifier: MIT

package drain

import (
	"bufio"
	"context"
	"io"
	"log"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
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
			time.Sleep(headerWait / 2)
			io.WriteString(conn, "Host: a\r\n\r\n")
			_, err := http.ReadResponse(responses, nil)
			served <- err
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

// TestStopInTime: a server that does not return from Serve, since it waits to accept
// again, does not make a short stop late.
func TestStopInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, srv := served()
		srv.ErrorLog = log.New(io.Discard, "", 0)
		h.Bind(broke{newPipes()})
		done := make(chan error)
		go func() { done <- h.Serve(srv.Serve) }()
		time.Sleep(10*time.Second + 300*time.Millisecond) // it waits for a second
		const grace = 300 * time.Millisecond
		ctx, end := context.WithTimeout(t.Context(), grace)
		defer end()
		began := time.Now()
		if err := h.Shutdown(ctx, context.Canceled); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > grace {
			t.Errorf("took %v of %v", took, grace)
		}
		<-done
	})
}
