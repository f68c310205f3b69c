// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

// A stoppable is a server of a subject, in a process or in a container.
type stoppable interface {
	address() string
	stop() error
	remove() error
}

// slowReaders measures what arrives of responses whose clients read slowly.
func (b *bench) slowReaders() (*report.Section, error) {
	rows, err := b.slow(func(j job) (stoppable, error) { return start(j) })
	return &report.Section{
		Title: "Responses cut of slow readers",
		About: slowAbout + ".",
		Head:  slowHead,
		Rows:  rows,
	}, err
}

// slowInDocker is slowReaders of servers that are PID 1 of a container. Its network
// ends with them, and with it what the kernel has not sent yet.
func (b *bench) slowInDocker() (_ *report.Section, err error) {
	image, remove, err := buildImage()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	rows, err := b.slow(func(j job) (stoppable, error) { return startContainer(image, j) })
	return &report.Section{
		Title: "Responses cut of slow readers, PID 1 of a Docker container",
		About: slowAbout + `. Each server is PID 1 of a container, whose network ends with it. A client that
			hears nothing for 5 s gives up.`,
		Head: slowHead,
		Rows: rows,
	}, err
}

var slowAbout = fmt.Sprintf("A client reads a response of %d MB at about 800 KB/s while the server gets SIGTERM; the grace is %v",
	slowSize>>20, longGrace)

var slowHead = []string{"protocol", ours + ": cut", plain + ": cut", "stops"}

func (b *bench) slow(start func(job) (stoppable, error)) (rows [][]string, err error) {
	stops := max(b.stops/20, 1)
	for _, protocol := range []string{"HTTP/1.1", "HTTP/1.1, TLS", "HTTP/2, TLS"} {
		row := []string{protocol}
		for _, name := range []string{ours, plain} {
			cut := 0
			for range stops {
				whole, err := slowStop(start, name, protocol)
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", name, protocol, err)
				}
				if !whole {
					cut++
				}
			}
			row = append(row, strconv.Itoa(cut))
		}
		rows = append(rows, append(row, strconv.Itoa(stops)))
	}
	return rows, nil
}

const (
	slowSize   = 2 << 20
	slowBuffer = 64 << 10 // what the client's kernel takes for it
)

// A throttle is the connection of a client with a thin line. When the network of a
// container is gone, nothing tells the client, so it gives up after hangTime.
type throttle struct{ net.Conn }

const hangTime = 5 * time.Second

func (c throttle) Read(b []byte) (int, error) {
	time.Sleep(5 * time.Millisecond)
	_ = c.Conn.SetReadDeadline(time.Now().Add(hangTime))
	return c.Conn.Read(b[:min(len(b), 4<<10)])
}

// slowStop reports whether a response arrived whole.
func slowStop(start func(job) (stoppable, error), name, protocol string) (whole bool, err error) {
	server, err := start(job{Subject: name, TLS: protocol != "HTTP/1.1", Grace: longGrace})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, server.remove()) }()
	tr := &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			conn, err := dial([]string{server.address()})
			if err != nil {
				return nil, err
			}
			return throttle{conn}, conn.(*net.TCPConn).SetReadBuffer(slowBuffer)
		},
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // self-signed, on the loopback interface
		ForceAttemptHTTP2: protocol == "HTTP/2, TLS",
	}
	defer tr.CloseIdleConnections()
	scheme := "https"
	if protocol == "HTTP/1.1" {
		scheme = "http"
	}
	resp, err := (&http.Client{Transport: tr}).Get(scheme + "://backend/?size=" + strconv.Itoa(slowSize))
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if err := server.stop(); err != nil {
		return false, err
	}
	n, err := io.Copy(io.Discard, resp.Body)
	return err == nil && n == slowSize, nil
}
