// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// patience is how long a client waits for a response.
const patience = 20 * time.Second

// A keepAlive is an HTTP/1.1 client with one connection, which it uses as long
// as it can. It sends no request twice.
type keepAlive struct {
	backends []string // the next is taken when one refuses
	conn     net.Conn // nil: the next request needs a new one
	reader   *bufio.Reader

	idle  time.Time     // since when conn is
	pause time.Duration // the longest that it was
}

// do sends a request and returns who answered. An error means that it is lost.
func (k *keepAlive) do(method string) (pid string, err error) {
	if k.conn != nil && hungUp(k.conn) {
		k.close()
	}
	if k.conn == nil {
		if err := k.dial(); err != nil {
			return "", err
		}
	} else {
		k.pause = max(k.pause, time.Since(k.idle))
	}
	k.conn.SetDeadline(time.Now().Add(patience))
	resp, err := k.exchange(method)
	if err != nil {
		k.close()
		return "", err
	}
	if resp.Close {
		k.close()
	}
	k.idle = time.Now()
	return resp.Header.Get(pidHeader), nil
}

func (k *keepAlive) dial() (err error) {
	k.conn, err = dial(k.backends)
	k.reader = bufio.NewReader(k.conn)
	return err
}

// dial connects to the first that does not refuse.
func dial(backends []string) (net.Conn, error) {
	for _, addr := range backends {
		conn, err := net.DialTimeout("tcp", addr, patience)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return conn, err
		}
	}
	return nil, fmt.Errorf("all of %v refuse", backends)
}

// body is what a POST carries.
var body = strings.Repeat("x", 512)

func (k *keepAlive) exchange(method string) (*http.Response, error) {
	text := method + " / HTTP/1.1\r\nHost: backend\r\n\r\n"
	if method == http.MethodPost {
		text = fmt.Sprintf("POST / HTTP/1.1\r\nHost: backend\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	if _, err := io.WriteString(k.conn, text); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(k.reader, &http.Request{Method: method})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && string(got) != answer {
		err = fmt.Errorf("%s: %q", resp.Status, got)
	}
	return resp, err
}

func (k *keepAlive) close() {
	if k.conn != nil {
		k.conn.Close()
		k.conn = nil
	}
}

// hungUp reports whether the server has closed an idle connection. Clients
// that pool connections see that and do not use it.
func hungUp(conn net.Conn) (gone bool) {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = n == 0 && err == nil || err != nil && err != syscall.EAGAIN
		return true
	})
	return gone || err != nil
}
