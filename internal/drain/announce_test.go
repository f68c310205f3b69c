// SPDX-License-Identifier: MIT

package drain_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/drain"
)

var errStop = errors.New("the test is over")

var silent = log.New(io.Discard, "", 0)

// A server is served until the test ends.
type server struct {
	t    *testing.T
	h    *drain.HTTP
	addr string
	stop func() error
}

// serve serves srv. stop drains it, and must succeed if the test does not call it.
func serve(t *testing.T, srv *http.Server) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, srv, l, drain.Hooks{})
}

func serveOn(t *testing.T, srv *http.Server, l net.Listener, hooks drain.Hooks) *server {
	s := &server{t: t, h: drain.NewHTTP(context.Background(), srv, hooks), addr: l.Addr().String()}
	s.h.Bind(l)
	served := make(chan error, 1)
	go func() { served <- s.h.Serve(srv.Serve) }()
	stopped := false
	s.stop = func() error {
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		err := s.h.Shutdown(ctx, errStop)
		if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
			err = errors.Join(err, ended)
		}
		return err
	}
	t.Cleanup(func() {
		if stopped {
			return
		}
		if err := s.stop(); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return s
}

// client is one whose connections speak the protocol: "HTTP/1.1" or "h2c".
func client(t *testing.T, srv *http.Server, protocol string) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(protocol == "HTTP/1.1")
	transport.Protocols.SetUnencryptedHTTP2(protocol == "h2c")
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// earlyHints answers as a handler that sends informational responses does.
func earlyHints(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	if r.Method == "POST" {
		w.WriteHeader(http.StatusContinue)
		io.Copy(io.Discard, r.Body)
	}
	fmt.Fprint(w, r.RemoteAddr)
}

// proxied is what a reverse proxy in front of handler passes on: it copies the
// headers of each informational response, and then clears all.
func proxied(t *testing.T, handler http.HandlerFunc) http.HandlerFunc {
	backend := httptest.NewServer(handler)
	t.Cleanup(backend.Close)
	target, _ := url.Parse(backend.URL)
	proxy := httputil.NewSingleHostReverseProxy(target)
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	proxy.Transport = transport
	return proxy.ServeHTTP
}

// TestInformational: what is sent before the final response says nothing of the
// connection, and the final response sends the client away.
func TestInformational(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "h2c"} {
		for name, handler := range map[string]http.HandlerFunc{"handler": earlyHints, "proxy": proxied(t, earlyHints)} {
			for _, method := range []string{"GET", "POST"} {
				t.Run(protocol+" "+name+" "+method, func(t *testing.T) {
					srv := &http.Server{Handler: handler}
					client := client(t, srv, protocol)
					s := serve(t, srv)
					s.h.AnnounceClose()
					var conns []string
					for range 3 {
						conn, informed := informational(t, client, method, "http://"+s.addr)
						if slices.Contains(conns, conn) {
							t.Errorf("a second request on %s", conn)
						}
						conns = append(conns, conn)
						if informed == 0 {
							t.Error("no informational response")
						}
					}
				})
			}
		}
	}
}

// informational makes a request, and returns on which connection, and how many
// informational responses it got.
func informational(t *testing.T, client *http.Client, method, url string) (conn string, informed int) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if method == "POST" {
		req.Body = io.NopCloser(strings.NewReader("hello")) // cannot be sent again
	}
	req = req.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { conn = info.Conn.LocalAddr().String() },
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			informed++
			if header.Get("Connection") != "" {
				t.Errorf("%d carries Connection: %s", code, header.Get("Connection"))
			}
			return nil
		},
	}))
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 {
		t.Errorf("%s, %v", res.Status, err)
	}
	return conn, informed
}

// TestFinalResponse: however a handler answers, on HTTP/1, its client learns that
// the connection closes, and net/http closes it.
func TestFinalResponse(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"nothing":     func(http.ResponseWriter, *http.Request) {},
		"WriteHeader": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) },
		"Write":       func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello")) },
		"WriteString": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") },
		"ReadFrom":    func(w http.ResponseWriter, _ *http.Request) { io.Copy(w, strings.NewReader("hello")) },
		"Flush":       func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
		"FlushError":  func(w http.ResponseWriter, _ *http.Request) { http.NewResponseController(w).Flush() },
		"keep-alive": func(w http.ResponseWriter, _ *http.Request) { // as many event streams do
			w.Header().Set("Connection", "keep-alive")
			w.(http.Flusher).Flush()
			io.WriteString(w, "hello")
		},
		"TimeoutHandler": http.TimeoutHandler(http.NotFoundHandler(), time.Minute, "").ServeHTTP,
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, &http.Server{Handler: handler})
			s.h.AnnounceClose()
			// Upgrade: h2c is what curl --http2 and Java's client send with any
			// request.
			for _, header := range []string{"", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"} {
				res, rest := exchange(t, s.addr, "GET / HTTP/1.1\r\nHost: a\r\n"+header+"\r\n")
				if got := res.Header["Connection"]; !slices.Equal(got, []string{"close"}) {
					t.Errorf("Connection: %q", got)
				}
				if rest != "" {
					t.Errorf("after the response: %q", rest)
				}
			}
		})
	}
}

// exchange sends a request and returns the response, with a body that was read,
// and what follows it until the server closes the connection.
func exchange(t *testing.T, addr, request string) (res *http.Response, rest string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second)) // to fail, and not hang
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	r := bufio.NewReader(io.TeeReader(conn, &raw))
	if res, err = http.ReadResponse(r, nil); err != nil {
		t.Fatal(err)
	}
	// Not what Go's client makes of it, but what was sent.
	_, headers, _ := bytes.Cut(raw.Bytes(), []byte("\r\n"))
	sent, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(headers))).ReadMIMEHeader()
	if err != nil {
		t.Fatal(err)
	}
	res.Header = http.Header(sent)
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	after, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(after)
}

// TestSwitchingProtocols: what becomes another protocol has the Connection header
// of its handler alone, and what is refused for want of one has both.
func TestSwitchingProtocols(t *testing.T) {
	upgrade := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "test")
		if r.URL.Path == "/refused" {
			w.WriteHeader(http.StatusUpgradeRequired)
			return
		}
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "hello")
	}
	for name, handler := range map[string]http.HandlerFunc{"handler": upgrade, "proxy": proxied(t, upgrade)} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, &http.Server{Handler: handler})
			s.h.AnnounceClose()
			for path, want := range map[string]string{"/": "101 [Upgrade] hello", "/refused": "426 [close Upgrade] "} {
				if name == "proxy" && path == "/refused" {
					want = "426 [close] " // Connection is for each hop
				}
				res, rest := exchange(t, s.addr, "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
				if got := fmt.Sprint(res.StatusCode, " ", res.Header["Connection"], " ", rest); got != want {
					t.Errorf("%s: %s, want %s", path, got, want)
				}
			}
		})
	}
}

// TestCurlUpgrade: curl --http2, which asks for h2c with each request, leaves the
// connection.
func TestCurlUpgrade(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("needs curl")
	}
	s := serve(t, &http.Server{Handler: http.HandlerFunc(earlyHints)})
	s.h.AnnounceClose()
	url := "http://" + s.addr
	out, err := exec.Command(curl, "-sS", "--http2", url, "-w", " %{num_connects}\n", "--next", "-sS", "--http2", url, "-w", " %{num_connects}\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(out), " 1\n") != 2 {
		t.Errorf("got %q, want two connections", out)
	}
}

// TestWriterWhileAnnouncing: the ResponseWriter can do all that net/http's can.
func TestWriterWhileAnnouncing(t *testing.T) {
	want := map[string]string{
		"HTTP/1.1": "true true true false true <nil>",
		"h2c":      "true false false true true <nil>",
	}
	for _, protocol := range []string{"HTTP/1.1", "h2c"} {
		t.Run(protocol, func(t *testing.T) {
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, flusher := w.(http.Flusher)
				_, hijacker := w.(http.Hijacker)
				_, readerFrom := w.(io.ReaderFrom)
				_, pusher := w.(http.Pusher)
				//lint:ignore SA1019 handlers of old ask for it
				_, notifier := w.(http.CloseNotifier)
				control := http.NewResponseController(w)
				err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{}), control.EnableFullDuplex(), control.Flush())
				fmt.Fprint(w, flusher, hijacker, readerFrom, pusher, notifier, err)
			})}
			client := client(t, srv, protocol)
			s := serve(t, srv)
			s.h.AnnounceClose()
			res, err := client.Get("http://" + s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if got, err := io.ReadAll(res.Body); string(got) != want[protocol] || err != nil {
				t.Errorf("got %s, %v; want %s", got, err, want[protocol])
			}
		})
	}
}

// TestTooLarge: a client that goes on sending gets the response that refuses its
// body. net/http waits half a second with the close for that, if it knows that the
// body was too large.
func TestTooLarge(t *testing.T) {
	s := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 10)
		if _, err := io.ReadAll(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		}
	})})
	s.h.AnnounceClose()
	var errs []error
	for range 3 { // half a second may pass without this client
		err := sendTooMuch(s.addr)
		if err == nil {
			return
		}
		errs = append(errs, err)
	}
	t.Error(errs)
}

func sendTooMuch(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", 100<<20)
	for range 10 { // more than the 256 KiB that net/http discards
		if _, err := conn.Write(make([]byte, 64<<10)); err != nil {
			return err
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
		return fmt.Errorf("%s, %w", res.Status, err)
	}
	return nil
}
