// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

func (b *bench) http2() (*report.Section, error) {
	second, err := start(job{Subject: plain, TLS: true, Grace: grace})
	if err != nil {
		return nil, err
	}
	defer second.kill()

	stops := b.stops / 2
	if b.short {
		stops = 2
	}
	r := report.Results{}
	err = inTurn(stops, func(name string) error {
		f, err := stopStreams(name, second.addr)
		r.Add(name, f)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &report.Section{
		Title: "Requests lost in a stop, HTTP/2",
		About: fmt.Sprintf(`Go's client sends POST and GET in turn in %d parallel streams of one connection, 1 ms each,
			while the server gets SIGTERM. It goes to a second server when a dial is refused. Responses lost: of
			requests that reached a handler. Requests lost: all those that failed for their caller, although
			this client sends again what it may. Sent again: what it had to, since the server said that it took no
			notice (GOAWAY); a request whose body cannot be had twice would be lost there. %d stops.`, clients, stops),
		Head: []string{"stop by", "responses lost", "requests lost", "sent again", "a stop", "requests"},
		Rows: r.Table(order, title, func(f map[string][]float64) []string {
			return []string{
				report.Number(report.Sum(f["cut"])), report.Number(report.Sum(f["failed"])), report.Number(report.Sum(f["again"])),
				fmt.Sprintf("%.2f", report.Sum(f["again"])/float64(stops)), report.Number(report.Sum(f["sent"])),
			}
		}),
	}, nil
}

// newClient is Go's client, which connects to the first of the backends that
// does not refuse, whatever the URL.
func newClient(backends ...string) *http.Client {
	return &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DialContext:       func(context.Context, string, string) (net.Conn, error) { return dial(backends) },
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // self-signed, on the loopback interface
			ForceAttemptHTTP2: true,
		},
	}
}

// stopStreams stops a server whose one connection is busy.
func stopStreams(name, second string) (report.Figures, error) {
	first, err := start(job{Subject: name, TLS: true, Grace: grace})
	if err != nil {
		return nil, err
	}
	defer first.kill()
	s := &streams{client: newClient(first.addr, second), pid: strconv.Itoa(first.cmd.Process.Pid), answered: map[int]bool{}}
	defer s.client.CloseIdleConnections()
	s.send() // connects

	var busy sync.WaitGroup
	var stuck [clients]error
	for i := range clients {
		busy.Go(func() { stuck[i] = untilElsewhere(s.pid, s.send) })
	}
	time.Sleep(20*time.Millisecond + rand.N(20*time.Millisecond))
	if err := first.stop(); err != nil {
		return nil, err
	}
	busy.Wait()
	first.kill() // all have gone elsewhere
	return s.figures(first.seen), errors.Join(stuck[:]...)
}

// streams are requests of one client, to a server that stops and to another.
type streams struct {
	client *http.Client
	pid    string // of the server that stops

	sent, again, failed atomic.Int64

	mu       sync.Mutex   // guards answered
	answered map[int]bool // requests, by the server that stops
}

// send sends one request and returns who answered.
func (s *streams) send() (pid string) {
	id := int(s.sent.Add(1))
	method, content := http.MethodGet, io.Reader(nil)
	if id%2 == 0 {
		method, content = http.MethodPost, strings.NewReader(body) // which net/http can get again
	}
	var tries atomic.Int64
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{WroteHeaders: func() { tries.Add(1) }})
	req, err := http.NewRequestWithContext(ctx, method, "https://backend/", content)
	if err != nil {
		panic(err)
	}
	req.Header.Set(idHeader, strconv.Itoa(id))
	pid, err = s.do(req)
	if tries.Load() > 1 {
		s.again.Add(1)
	}
	if err != nil {
		s.failed.Add(1)
		fmt.Fprintf(os.Stderr, "drain: HTTP/2 %s: %v\n", method, err)
	}
	if pid == s.pid {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.answered[id] = true
	}
	return pid
}

// do returns who answered.
func (s *streams) do(req *http.Request) (pid string, err error) {
	resp, err := s.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return "", err
	case resp.ProtoMajor != 2 || string(text) != answer:
		return "", fmt.Errorf("%s %s: %q", resp.Proto, resp.Status, text)
	}
	return resp.Header.Get(pidHeader), nil
}

// figures compares what was answered with what the server has seen.
func (s *streams) figures(seen []int) report.Figures {
	cut := 0
	for _, id := range seen {
		if !s.answered[id] {
			cut++
		}
	}
	return report.Figures{
		"sent": float64(s.sent.Load()), "again": float64(s.again.Load()),
		"failed": float64(s.failed.Load()), "cut": float64(cut),
	}
}
