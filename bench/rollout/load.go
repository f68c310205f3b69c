// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A tally is what clients saw.
type tally struct {
	Sent   int
	Failed map[string]int // by kind
}

func (t *tally) add(kind string) {
	t.Sent++
	if kind == "" {
		return
	}
	if t.Failed == nil {
		t.Failed = map[string]int{}
	}
	t.Failed[kind]++
}

func (t *tally) merge(other tally) {
	t.Sent += other.Sent
	for kind, n := range other.Failed {
		if t.Failed == nil {
			t.Failed = map[string]int{}
		}
		t.Failed[kind] += n
	}
}

// String is a table's cell: how many failed, and of which kinds.
func (t tally) String() string {
	total, kinds := 0, []string{}
	for _, kind := range slices.Sorted(maps.Keys(t.Failed)) {
		total += t.Failed[kind]
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, t.Failed[kind]))
	}
	if total == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(kinds, ", "))
}

// What a load is made of, and how long one of its clients waits between two
// requests.
const (
	steady   = 8 // clients with a keep-alive connection
	fresh    = 2 // clients that dial for every request
	patient  = 2 // clients whose requests take slowness
	slowness = time.Second
	pause    = 200 * time.Millisecond
	timeout  = 10 * time.Second
)

// A target is what a load sends its requests to.
type target struct {
	url  string
	host string // header, if not that of the URL
}

// generate sends requests to where, POST and GET in turn, until ctx ends, and
// then waits for the last responses.
func generate(ctx context.Context, where target) tally {
	var (
		all   sync.WaitGroup
		mu    sync.Mutex // guards total
		total tally
	)
	for i := range steady + fresh + patient {
		c := client{target: where, transport: &http.Transport{DisableKeepAlives: i >= steady && i < steady+fresh}}
		if i >= steady+fresh {
			c.url += "/?slow=" + slowness.String()
		}
		all.Go(func() {
			own := c.run(ctx)
			mu.Lock()
			defer mu.Unlock()
			total.merge(own)
		})
	}
	all.Wait()
	return total
}

type client struct {
	target
	transport *http.Transport
}

func (c client) run(ctx context.Context) (own tally) {
	defer c.transport.CloseIdleConnections()
	for i := 0; ; i++ {
		own.add(c.request(i))
		select {
		case <-ctx.Done():
			return own
		case <-time.After(pause):
		}
	}
}

// request sends the i-th request and returns "" or how it failed.
func (c client) request(i int) string {
	method, send := http.MethodPost, io.Reader(io.NopCloser(strings.NewReader("work")))
	if i%2 == 1 {
		method, send = http.MethodGet, nil
	}
	req, err := http.NewRequest(method, c.url, send)
	if err != nil {
		return kindOf(err)
	}
	req.Host = c.host
	res, err := (&http.Client{Transport: c.transport, Timeout: timeout}).Do(req)
	if err != nil {
		return kindOf(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return kindOf(err)
	case res.StatusCode != http.StatusOK:
		return fmt.Sprint(res.StatusCode)
	case string(got) != body:
		return "wrong body"
	}
	return ""
}

func kindOf(err error) string {
	var timedOut net.Error
	switch {
	case errors.As(err, &timedOut) && timedOut.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, syscall.EPIPE):
		return "broken pipe"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "server closed idle connection"):
		return "EOF"
	}
	return "other"
}

// loadMain is the load inside a cluster: until SIGUSR1, which "finish" sends. Its
// tally goes to standard output.
func loadMain(url string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGUSR1, syscall.SIGTERM)
	defer stop()
	return json.NewEncoder(os.Stdout).Encode(generate(ctx, target{url: url}))
}

// requestRate is about how many requests a second generate sends.
const requestRate = int((steady+fresh)*(time.Second/pause)) + patient/2
