// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/netutil"

	"github.com/entrypoint-go/entrypoint/pid1"
)

// A rawClient has one connection.
type rawClient struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dialRaw(t *testing.T, addr string) *rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute)) // to fail, and not hang
	return &rawClient{conn, t, bufio.NewReader(conn)}
}

func (c *rawClient) send() {
	c.t.Helper()
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

// response is the text of a response, or how it failed.
func (c *rawClient) response() string {
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return fmt.Sprint("no response: ", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Sprint("half a response: ", err)
	}
	return string(body)
}

// TestAtLimit: netutil.LimitListener has as many connections as it allows, and one
// client more is in the queue, when the stop begins. That one is served when another
// connection ends in time, and holds up nothing when none does.
func TestAtLimit(t *testing.T) {
	const limit = 5
	for _, test := range []struct {
		name         string
		idle         bool // the connections are, otherwise they have a request in flight
		last, served bool // which lasts until the client in the queue has left; who is served
	}{
		{name: "requests end", served: true},
		{name: "requests last", last: true},
		{name: "idle", idle: true, served: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			entered, finish := make(chan bool, limit+1), make(chan bool)
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				entered <- true
				<-finish
				io.WriteString(w, "hello")
			})}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := runApp(t, h2cApp(), pid1.Listen(netutil.LimitListener(l, limit), srv), l.Addr())

			var clients []*rawClient
			for range limit {
				c := dialRaw(t, s.addr)
				c.send()
				<-entered
				clients = append(clients, c)
			}
			if test.idle {
				close(finish)
				for _, c := range clients {
					if got := c.response(); got != "hello" {
						t.Fatal(got)
					}
				}
			}
			queued := dialRaw(t, s.addr)
			queued.send()
			began := time.Now()
			s.cancel()
			<-s.app.Stopping()
			if !test.idle && !test.last {
				close(finish)
			}
			if got := queued.response(); (got == "hello") != test.served {
				t.Errorf("the client in the queue, after %v: %s", time.Since(began), got)
			}
			if test.last {
				close(finish)
			}
			if !test.idle {
				for _, c := range clients {
					if got := c.response(); got != "hello" {
						t.Error(got)
					}
				}
			}
			s.ends()
		})
	}
}
