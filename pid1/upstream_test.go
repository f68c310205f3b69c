// SPDX-License-Identifier: MIT

//go:build unix

package pid1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests of this file have a proxy that sends no request twice in front of a
// backend that stops again and again, without a delay, while another one goes on. A
// connection that is refused was no request yet. Whatever was sent must be answered.

// posts is a script of wrk: requests that no client may repeat.
const posts = `
wrk.method = "POST"
wrk.body = "hello"
`

// nginx takes the other backend for a second after one has refused a connection.
const nginxOnce = `
daemon off;
worker_processes 1;
pid {{.Dir}}/nginx.pid;
error_log stderr error;
events {}
http {
	access_log off;
	client_body_temp_path {{.Dir}};
	proxy_temp_path {{.Dir}};
	fastcgi_temp_path {{.Dir}};
	uwsgi_temp_path {{.Dir}};
	scgi_temp_path {{.Dir}};
	upstream back {
		server {{index .Backends 0}} max_fails=1 fail_timeout=1s;
		server {{index .Backends 1}} max_fails=0;
		keepalive 32;
	}
	server {
		listen {{.Addr}};
		location / {
			proxy_pass http://back;
			proxy_next_upstream off;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
}
`

// A headerListener is one for the PROXY protocol. Its connections read the header when
// the first byte of a request is wanted, and may read more than that from the socket.
type headerListener struct{ net.Listener }

type headerConn struct {
	net.Conn
	header sync.Once
	r      *bufio.Reader
	err    error
}

func (l headerListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &headerConn{Conn: conn, r: bufio.NewReader(conn)}, nil
}

func (c *headerConn) Read(b []byte) (int, error) {
	c.header.Do(func() {
		var line string
		if line, c.err = c.r.ReadString('\n'); c.err == nil && !strings.HasPrefix(line, "PROXY ") {
			c.err = fmt.Errorf("no header of the PROXY protocol: %q", line)
		}
	})
	if c.err != nil {
		return 0, c.err
	}
	return c.r.Read(b)
}

// TestNginxSendsOnce: with proxy_next_upstream off and kept connections.
func TestNginxSendsOnce(t *testing.T) {
	slow(t)
	nginx, wrk := installed(t, "nginx"), installed(t, "wrk")
	s := newSite(t)
	s.stopUnderLoad(t, wrk, func() {
		s.run(t, nginx, "-p", s.Dir, "-c", s.write(t, "nginx.conf", nginxOnce))
	}, func(log []byte) (lost [][]byte, refused int) {
		for line := range bytes.Lines(log) {
			switch {
			case bytes.Contains(line, []byte("refused")) && bytes.Contains(line, []byte("while connecting to upstream")):
				refused++
			case bytes.Contains(line, []byte("upstream")):
				lost = append(lost, line)
			}
		}
		return lost, refused
	})
}

// TestHAProxySendsOnce: with http-reuse always and without retries; the second time
// through a listener for the PROXY protocol.
func TestHAProxySendsOnce(t *testing.T) {
	slow(t)
	haproxy, wrk := installed(t, "haproxy"), installed(t, "wrk")
	for name, test := range map[string]struct{ proxy, backend string }{
		"bare":           {},
		"PROXY protocol": {"send-proxy check-send-proxy", "-header"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.Once, s.Flags = true, test.proxy
			var flags []string
			if test.backend != "" {
				flags = []string{test.backend}
			}
			// …/status bytes - - state in "httplog": a connection was refused in
			// the state SC.
			failure := regexp.MustCompile(` back/\S+ [-\d/+]+ \S+ \d+ - - (\S\S)`)
			s.stopUnderLoad(t, wrk, func() {
				s.run(t, haproxy, "-db", "-f", s.write(t, "haproxy.cfg", haproxyConfig))
			}, func(log []byte) (lost [][]byte, refused int) {
				for line := range bytes.Lines(log) {
					state := failure.FindSubmatch(line)
					switch {
					case state == nil:
					case string(state[1]) == "SC":
						refused++
					default:
						lost = append(lost, line)
					}
				}
				return lost, refused
			}, flags...)
		})
	}
}

// stopUnderLoad stops the first backend under load, and starts it again, until the
// proxy has used it n times. failures finds what the proxy's log says of requests.
func (s *site) stopUnderLoad(t *testing.T, wrk string, proxy func(), failures func(log []byte) (lost [][]byte, refused int), flags ...string) {
	t.Helper()
	first := backend(t, s.Backends[0], -1, flags...)
	second := backend(t, s.Backends[1], -1, flags...)
	proxy()
	s.awaitProxy(t)
	load := s.load(t, wrk, "-s", s.write(t, "posts.lua", posts))
	n := restarts(t)
	var took []time.Duration
	for range n {
		first.await("loaded")
		began := time.Now()
		first.signal(syscall.SIGTERM)
		first.wantExit(0)
		took = append(took, time.Since(began))
		first = backend(t, s.Backends[0], -1, flags...)
	}
	first.await("loaded")
	result := load()
	for _, b := range []*process{first, second} {
		b.signal(syscall.SIGTERM)
		b.wantExit(0)
	}

	lost, refused := failures(s.read("log"))
	t.Logf("%d stops, each took %s; %d requests lost, %d connections refused\n%s", n, spread(took), len(lost), refused, result)
	if len(lost) > 0 {
		t.Errorf("%d requests lost, such as:\n%s", len(lost), lost[0])
	}
	// A 503 may end in a reset: HAProxy closes the connection with the body of the
	// request unread.
	if bad := regexp.MustCompile(`(?m)^ *Socket errors:.* timeout [1-9].*$`).Find(result); bad != nil {
		t.Errorf("wrk: %s", bad)
	}
	failed := 0
	if found := regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`).FindSubmatch(result); found != nil {
		failed, _ = strconv.Atoi(string(found[1]))
	}
	if failed > refused {
		t.Errorf("wrk saw %d failures, more than connections refused", failed)
	}
}
